"""Large raw files for the benchmarks: a Posts.xml and a metadata.csv of any size, from a seed.

Both are put together from pools (blocks of HTML, sentences), so that a gigabyte takes seconds and
no two rows are alike. Schema, order of attributes, lengths, marks, scores and missing fields follow
what was counted in real files: eight dumps of small Stack Exchange sites (9,368 posts) and 627 rows
of CORD-19. Two things could not be counted there and are assumptions: the shares of the CORD-19
licences and of repeated papers, which the samples do not have. One long module, since both makers
draw on the same prose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

_COMMON_TEXT = (
    "the of and to in a is that for it with as are was on be by this not or which can have from "
    "an at if you your they but there will when has may should one more their what how because "
    "than also some other these after most about does would while often without between usually "
    "patients patient treatment study disease blood risk dose effect clinical cells infection "
    "muscle heart protein pressure severe acute chronic results virus response children analysis "
    "symptoms therapy group data methods associated increased during levels model cases days"
)
_COMMON = _COMMON_TEXT.split()
_SYLLABLES_TEXT = (
    "an ar car cor der di do el en er fi gen hep i in ka la lo ma me mi mo na neu ni no o or pa "
    "per phy pre pro ra re ri ro sa se si so ta te ter ti to tri u ul va vi xa"
)
_SYLLABLES = _SYLLABLES_TEXT.split()
_BEYOND_TEXT = (
    "naïve β-blocker μg 5–10 ±2.1 °C José α-synuclein café ≥65 “mild” – … Müller 患者 γδ é"
)
_BEYOND_ASCII = _BEYOND_TEXT.split()
_WORDS = 20_000
_BLOCKS = 30_000
_CHUNK = 20_000
"""Rows that are drawn together: the unit in which a file grows."""


def vocabulary() -> list[str]:
    """20,000 words, the most frequent first: real ones, then invented ones."""
    draw = random.Random("vocabulary")
    words = dict.fromkeys(_COMMON)
    while len(words) < _WORDS:
        words["".join(draw.choices(_SYLLABLES, k=draw.choice((2, 3, 3, 4))))] = None
    return list(words)


class _Prose:
    """Sentences with Zipf's frequencies, drawn in bulk."""

    def __init__(self, seed: str, words: int) -> None:
        share = 1 / (np.arange(_WORDS) + 2.7)
        numbers = np.searchsorted(
            np.cumsum(share / share.sum()), _generator(seed).random(words), side="right"
        )
        known = np.array(vocabulary(), dtype=object)
        self.stream: list[str] = known[np.minimum(numbers, _WORDS - 1)].tolist()
        self.at = 0

    def words(self, count: int) -> list[str]:
        if self.at + count > len(self.stream):
            self.at = 0
        self.at += count
        return self.stream[self.at - count : self.at]


def _generator(seed: str) -> np.random.Generator:
    return np.random.default_rng(list(seed.encode()))


def _closed(words: list[str], mark: str = ".") -> str:
    return f"{words[0].capitalize()} {' '.join(words[1:])}{mark}"


# --- Posts.xml ---------------------------------------------------------------------------------

_INLINE: tuple[tuple[float, Callable[[str, random.Random], str]], ...] = (
    (0.09, lambda word, draw: f'<a href="https://example.org/{draw.randrange(10**6)}">{word}</a>'),
    (0.015, lambda word, draw: f'<a href="/questions/{draw.randrange(10**5)}/{word}">{word}</a>'),
    (0.055, lambda word, draw: f"<em>{word}</em>"),
    (0.045, lambda word, draw: f"<strong>{word}</strong>"),
    (0.02, lambda word, draw: f"<code>{word}_{draw.randrange(9)}</code>"),
    (0.008, lambda word, draw: f"{word}<br>"),
    (0.006, lambda word, draw: f"{word}<sup>{draw.randrange(1, 9)}</sup>"),
    (0.003, lambda word, draw: f"{word}<sub>{draw.randrange(1, 9)}</sub>"),
    (0.04, lambda word, draw: f"{word} &amp; more"),
    (0.012, lambda word, draw: f"{word}&nbsp;mg"),
    (0.012, lambda word, draw: f"{word} &lt; {draw.randrange(9)}"),
    (0.012, lambda word, draw: f"{word} &gt; {draw.randrange(9)}"),
    (0.006, lambda word, draw: f"{word} &mdash; so"),
    (0.012, lambda word, draw: f"{word} {draw.choice(_BEYOND_ASCII)}"),
    (0.01, lambda word, draw: f"{word} $x_{draw.randrange(9)}^2$"),
)
_INLINE_UP_TO = list(accumulate(share for share, _ in _INLINE))


def _sentence(prose: _Prose, draw: random.Random) -> str:
    words = prose.words(draw.randrange(8, 25))
    chance = draw.random()
    if chance < _INLINE_UP_TO[-1]:
        kind = next(n for n, limit in enumerate(_INLINE_UP_TO) if chance < limit)
        place = draw.randrange(1, len(words))
        words = [*words[:place], _INLINE[kind][1](words[place], draw), *words[place + 1 :]]
    return _closed(words, draw.choices(".?:", (90, 8, 2))[0])


def _block(prose: _Prose, draw: random.Random) -> str:
    """One block of HTML as the sites store it; 250 characters in the mean."""

    def text(least: int, most: int) -> str:
        return " ".join(_sentence(prose, draw) for _ in range(draw.randint(least, most)))

    def items(tag: str) -> str:
        found = "\n".join(f"<li>{text(1, 1)}</li>" for _ in range(draw.randint(2, 6)))
        return f"<{tag}>\n{found}\n</{tag}>"

    kinds: dict[str, Callable[[], str]] = {
        "p": lambda: f"<p>{text(1, 4)}</p>",
        "quote": lambda: f"<blockquote>\n  <p>{text(1, 3)}</p>\n</blockquote>",
        "ul": lambda: items("ul"),
        "ol": lambda: items("ol"),
        "pre": lambda: (
            "<pre><code>"
            + "\n".join(f"{word} &lt;- {n}" for n, word in enumerate(prose.words(4)))
            + "\n</code></pre>"
        ),
        "img": lambda: (
            f'<p>{text(1, 1)} <img src="https://i.example.org/{draw.randrange(10**6)}.png" '
            'alt="enter image description here"></p>'
        ),
        "h2": lambda: f"<h2>{' '.join(prose.words(4)).capitalize()}</h2>",
        "hr": lambda: "<hr>",
    }
    shares = (82, 5, 3.4, 1.8, 1.4, 2.2, 2.2, 2)
    return kinds[draw.choices(list(kinds), shares)[0]]()


def attribute(text: str) -> str:
    """Text as the dumps write it between double quotes."""
    return escape(text, {"\n": "&#xA;", '"': "&quot;"})


@dataclass(frozen=True, slots=True)
class Posts:
    """What was written to a Posts.xml.

    Args:
        rows: Posts of all kinds.
        pairs: Answers with a score of at least 5; all have their question.
        bytes: Size of the file.
    """

    rows: int
    pairs: int
    bytes: int


def write_posts(path: Path, size_mb: float, seed: int = 0) -> Posts:
    """A Posts.xml of about that size: in the order of ids, one row a line, BOM and CRLF.

    Answers mostly follow their question within some hundred rows; a tenth belong to any older one.
    Of the answers 36 % have five votes, as in the real dumps.
    """
    prose = _Prose(f"posts {seed}", 2_000_000)
    draw = random.Random(f"posts {seed}")
    blocks = [_block(prose, draw) for _ in range(_BLOCKS)]
    # paragraphs of words first: every body begins with one of these
    blocks.sort(key=lambda block: not block.startswith("<p>") or "<img" in block)
    openings = sum(block.startswith("<p>") and "<img" not in block for block in blocks)
    mean = sum(map(len, blocks)) / _BLOCKS + 2
    pool = [attribute(block) for block in blocks]
    rows = pairs = written = 0
    questions = np.empty(0, np.int64)
    with path.open("wb") as file:
        written += file.write(
            '\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n'.encode()
        )
        while written < size_mb * 1e6:
            chunk = _Chunk(f"posts {seed} {rows}", rows + 1, questions, mean, openings)
            questions = np.append(questions, chunk.questions)
            for line, is_pair in chunk.lines(pool, prose):
                written += file.write(line.encode())
                rows += 1
                pairs += is_pair
                if written >= size_mb * 1e6:
                    break
        written += file.write(b"</posts>")
    return Posts(rows, pairs, written)


class _Chunk:
    """The columns of `_CHUNK` posts with ids from `first` on."""

    def __init__(
        self, seed: str, first: int, known: np.ndarray[Any, Any], mean: float, openings: int
    ) -> None:
        draw = _generator(seed)
        size = _CHUNK
        self.ids = np.arange(first, first + size)
        # 29 % questions, 65 % answers, 6 % descriptions of tags; the first is a question
        self.kind = np.where(draw.random(size) < 0.306, 1, 2)
        self.kind[0] = 1
        wiki = draw.random(size) < 0.06
        wiki[0] = False
        self.kind[wiki] = draw.choice([4, 5], wiki.sum())
        self.questions = self.ids[self.kind == 1]
        before = np.searchsorted(self.questions, self.ids) - 1
        recent = np.maximum(before - draw.geometric(1 / 40, size) + 1, 0)
        self.parent = self.questions[np.minimum(recent, len(self.questions) - 1)]
        if len(known):
            old = draw.random(size) < 0.1
            self.parent[old] = known[draw.integers(0, len(known), old.sum())]
        self.score = np.floor(draw.lognormal(np.log(3.72), 0.9, size)).astype(np.int64)
        self.score[draw.random(size) < 0.02] *= -1
        median = np.select([self.kind == 1, self.kind == 2], [540, 930], 250)
        length = draw.lognormal(np.log(median), 0.85)
        self.blocks = np.maximum(np.rint(length / mean), 1).astype(np.int64)
        self.openings = openings
        self.picks = draw.integers(0, _BLOCKS, self.blocks.sum())
        self.picks[np.cumsum(self.blocks) - self.blocks] %= openings
        self.users = draw.integers(1, max(50, first // 8 + 50), size)
        self.chance = draw.random((4, size))
        self.small = draw.integers(0, 60, (2, size))

    def lines(self, pool: list[str], prose: _Prose) -> Iterator[tuple[str, bool]]:
        """Each row as a line, and whether it is an answer that a build takes."""
        columns = (self.ids, self.kind, self.parent, self.score, self.blocks, self.users)
        picks: list[int] = self.picks.tolist()
        take = pool.__getitem__
        start = 0
        rows = zip(
            *(column.tolist() for column in (*columns, *self.small, *self.chance)), strict=True
        )
        for number, kind, parent, score, blocks, user, one, two, who, edit, free, rare in rows:
            chosen = picks[start : start + blocks]
            if kind == 1:  # a question that shows an image is no row, and a peer would take it
                chosen = [n % self.openings if "&lt;img " in pool[n] else n for n in chosen]
            body = "&#xA;&#xA;".join(map(take, chosen))
            start += blocks
            date = f"{2010 + number // 400_000 % 14}-{one % 12 + 1:02}-{two % 28 + 1:02}"
            created = f"{date}T{two % 24:02}:{one:02}:{two:02}.{number % 1000:03}"
            license_name = "CC BY-SA 4.0" if date >= "2018-05-02" else "CC BY-SA 3.0"
            owner = f'OwnerUserId="{user}"' if who > 0.005 else f'OwnerDisplayName="user{user}"'
            edited = (
                f' LastEditorUserId="{user % 97 + 1}" LastEditDate="{created}"'
                if edit < 0.43
                else ""
            )
            first, last = "", ""
            if kind == 1:
                accepted = f' AcceptedAnswerId="{number + 1}"' if free < 0.5 else ""
                words = prose.words(6 + one % 7)
                title = f"{' '.join(words).capitalize()} {number}?"
                tags = "".join(f"&lt;{word}&gt;" for word in words[: 1 + two % 4])
                first = accepted
                views = f' ViewCount="{one * 60 + two}"'
                last = f' Title="{title}" Tags="{tags}" AnswerCount="{one % 5}"'
            else:
                views = ""
                if kind == 2:
                    first = f' ParentId="{parent}"'
            closed = f' ClosedDate="{created}"' if kind == 1 and rare < 0.07 else ""
            wiki = f' CommunityOwnedDate="{created}"' if rare > 0.99 else ""
            yield (
                f'  <row Id="{number}" PostTypeId="{kind}"{first} CreationDate="{created}" '
                f'Score="{score}"{views} Body="{body}&#xA;" {owner}{edited} '
                f'LastActivityDate="{created}"{last} CommentCount="{two % 6}"{closed}{wiki} '
                f'ContentLicense="{license_name}" />\r\n',
                kind == 2 and score >= 5,
            )


# --- metadata.csv ------------------------------------------------------------------------------

METADATA_COLUMNS = (
    "cord_uid,sha,source_x,title,doi,pmcid,pubmed_id,license,abstract,publish_time,authors,journal,"
    "mag_id,who_covidence_id,arxiv_id,pdf_json_files,pmc_json_files,url,s2_id"
)
_SENTENCES = 40_000
_LICENSES = {
    "unk": 36,
    "no-cc": 30,
    "cc-by": 20,
    "els-covid": 5,
    "cc-by-nc": 4,
    "cc-by-nc-nd": 3,
    "cc0": 1,
    "hybrid-oa": 0.6,
    "bronze-oa": 0.3,
    "cc-by-sa": 0.1,
}
_HEADINGS = ("BACKGROUND: ", "Background: ", "INTRODUCTION: ", "OBJECTIVE: ", "Abstract ", "")
_HEADING_SHARES = (0.25, 0.08, 0.04, 0.04, 0.03, 0.56)
_DIGITS = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was written to a metadata.csv.

    Args:
        rows: Data rows.
        papers: Different `cord_uid`.
        bytes: Size of the file.
    """

    rows: int
    papers: int
    bytes: int


def write_metadata(path: Path, size_mb: float, seed: int = 0) -> Metadata:
    """A metadata.csv of about that size, 19 columns, minimal quoting as the release has.

    22 % of the abstracts are missing, 8 % of the rows are another row of an earlier paper, 1 % of
    the abstracts hold line breaks, 3 % a quoted word, 40 % something beyond ASCII.
    """
    seeded = f"metadata {seed}"
    prose = _Prose(seeded, 1_500_000)
    draw = random.Random(seeded)
    sentences = [_plain_sentence(prose, draw) for _ in range(_SENTENCES)]
    names = [
        f"{draw.choice(_SYLLABLES)}{draw.choice(_SYLLABLES)}{draw.choice(_SYLLABLES)}".capitalize()
        + f", {draw.choice(('Ana', 'J. M.', 'Wei', 'Lars', 'Noor K.', 'José', 'Zoë', 'T.'))}"
        for _ in range(5_000)
    ]
    rows = written = repeated = 0
    with path.open("wb") as file:
        written += file.write(f"{METADATA_COLUMNS}\n".encode())
        while written < size_mb * 1e6:
            for line, again in _metadata_lines(f"{seeded} {rows}", rows, sentences, names, prose):
                written += file.write(line.encode())
                rows += 1
                repeated += again
                if written >= size_mb * 1e6:
                    break
    return Metadata(rows, rows - repeated, written)


def _plain_sentence(prose: _Prose, draw: random.Random) -> str:
    """A sentence in CSV's quoting: it always stands inside a quoted field."""
    words = list(prose.words(draw.randrange(12, 28)))
    chance = draw.random()
    place = draw.randrange(len(words))
    if chance < 0.045:
        words[place] = draw.choice(_BEYOND_ASCII)
    elif chance < 0.048:
        words[place] = f'""{words[place]}""'
    elif chance < 0.14:
        words[place] = f"({draw.randrange(1, 99)}.{draw.randrange(9)}%),"
    return _closed(words)


def _metadata_lines(
    seed: str, first: int, sentences: list[str], names: list[str], prose: _Prose
) -> Iterator[tuple[str, bool]]:
    draw = _generator(seed)
    size = _CHUNK
    uids = _identities(draw, size, 8)
    repeated = draw.random(size) < 0.08
    repeated[0] = False
    origin = np.where(repeated, np.maximum(np.arange(size) - draw.geometric(0.02, size), 0), -1)
    for row in np.flatnonzero(repeated):
        uids[row] = uids[origin[row]]
    shas = _identities(draw, size, 40, 16)
    counts = np.maximum(np.rint(draw.lognormal(np.log(1500), 0.42, size) / 133), 2).astype(int)
    picks = draw.integers(0, _SENTENCES, counts.sum()).tolist()
    author_counts = draw.geometric(1 / 6.4, size).clip(max=40)
    author_picks = draw.integers(0, len(names), author_counts.sum()).tolist()
    shares = np.array(list(_LICENSES.values()))
    kinds = np.array(list(_LICENSES), dtype=object)
    columns = (
        draw.choice(kinds, size, p=shares / shares.sum()),
        draw.choice(np.array(_HEADINGS, dtype=object), size, p=_HEADING_SHARES),
        draw.choice(np.array(["PMC", "Medline; PMC", "WHO", "Medline; PMC; WHO"], object), size),
        counts,
        author_counts,
        draw.integers(0, 10**6, size),
    )
    chances = draw.random((6, size))
    start = author_start = 0
    for row, (license_name, heading, origin_name, count, authors, number, *chance) in enumerate(
        zip(*(column.tolist() for column in (*columns, *chances)), strict=True)
    ):
        position = first + row
        abstract = ""
        if chance[0] >= 0.22:
            parts = map(sentences.__getitem__, picks[start : start + count])
            between = "\n" if chance[1] < 0.01 else " "
            abstract = f'"{heading}{between.join(parts)}"'
        start += count
        people = "; ".join(
            map(names.__getitem__, author_picks[author_start : author_start + authors])
        )
        author_start += authors
        title = f"{' '.join(prose.words(7 + number % 11)).capitalize()} {position}"
        if chance[2] < 0.2:
            title = f'"{title}, a review"'
        pmc = f"PMC{position + 1_000_000}" if chance[3] < 0.6 else ""
        sha = shas[row] if pmc and chance[4] < 0.6 else ""
        doi = f"10.1000/j.{number}.{position}" if chance[5] < 0.94 else ""
        pubmed = str(position + 20_000_000) if chance[4] < 0.8 else ""
        url = f"https://doi.org/{doi}" if doi else ""
        if pmc:
            url = f"https://www.ncbi.nlm.nih.gov/pmc/articles/{pmc}/"
        date = f"20{20 + number % 3}-{number % 12 + 1:02}-{number % 28 + 1:02}"
        if chance[3] > 0.75:
            date = date[:4]
        pdf_file = f"document_parses/pdf_json/{sha}.json" if sha else ""
        pmc_file = f"document_parses/pmc_json/{pmc}.xml.json" if pmc else ""
        yield (
            f"{uids[row]},{sha},{origin_name},{title},{doi},{pmc},{pubmed},{license_name},"
            f'{abstract},{date},"{people}",{"PLoS One" if number % 3 else "J Res"},,,,'
            f"{pdf_file},{pmc_file},{url},{number + 230_000_000}.0\n",
            bool(repeated[row]),
        )


def _identities(draw: np.random.Generator, count: int, length: int, letters: int = 36) -> list[str]:
    data = _DIGITS[draw.integers(0, letters, (count, length))].tobytes().decode()
    return [data[n * length : (n + 1) * length] for n in range(count)]
