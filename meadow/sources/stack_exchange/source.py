"""Stack Exchange questions with the answers that their communities voted for (score at least 5).

The rule of 2023: every answer with a score of at least 5, matched to its question; title and body
form the question. Texts are CC BY-SA, so each row names the authors of question and answer with
links to their profiles, the question's address, the licence of the answer (that of the question in
`meta`) and what was changed. HTML becomes Markdown-like text; images go, and are counted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from meadow.schema import Author, Fact, Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Count2023, File, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.published import PAPER_ARXIV
from meadow.sources.stack_exchange import dump as stack_dump
from meadow.text.render import HtmlLimitError, Rendered, normalise, render_html

NAME = "stack_exchange"
INSTRUCTION = "Answer this question truthfully."
INSTRUCTION_2023 = "Answer this question truthfully"
CHANGES = (
    "Title and body joined to one question; HTML turned into Markdown-like text; images removed; "
    "personal data in the texts replaced by placeholders."
)
LICENSE_SINCE = (("2018-05-02", "cc-by-sa-4.0"), ("2011-04-08", "cc-by-sa-3.0"))
"""First day -> licence of posts made from then on; older ones are under 2.5. Upstream's own
ContentLicense follows the date of creation too, also where a post was edited later."""
DUPLICATE_NOTICE = "removed_duplicate_notice"
"""Repair: the banner of a question that was asked before."""
_LETTERS_ENOUGH = re.compile(r"(?:[\W\d_]*+[^\W\d_]){25}")
"""What must be left of an answer that lost its images."""
_STATED = re.compile(r"CC BY-SA (2\.5|3\.0|4\.0)")


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject | Fact]:
    """One pair -> one record, and the images that it lost as a fact."""
    where, site = raw["_where"], raw["site"]
    question: Mapping[str, str] = raw["question"]
    answer: Mapping[str, str] = raw["answer"]
    host = site_url(site)
    told_under, asked_under = license_of(answer), license_of(question)
    if told_under is None or asked_under is None:
        part, post = ("answer", answer) if told_under is None else ("question", question)
        stated = post.get("ContentLicense")
        yield Reject(where, Reason.LICENSE, f"the {part}'s licence {stated!r} is not known")
        return
    repairs: list[str] = []
    if stack_dump.REPAIRED in question or stack_dump.REPAIRED in answer:
        mended = sum(int(post.get(stack_dump.REPAIRED, 0)) for post in (question, answer))
        repairs.append("repaired_characters")
        yield Fact("characters_repaired", site, mended)
    try:
        asked = _render_question(question.get("Body", ""), host)
        told = render_html(answer.get("Body", ""), base_url=f"{host}/")
    except HtmlLimitError as fault:
        yield Reject(where, fault.reason, fault.detail, answer.get("Body", ""))
        return
    body, told_text = asked.text, told.text
    if shortened := drop_duplicate_notice(body):
        body = shortened[0]
        repairs.append(DUPLICATE_NOTICE)
    title = normalise(question.get("Title", ""))
    text = f"{title}\n\n{body}" if title and body else title or body
    if told.images and not _LETTERS_ENOUGH.match(told_text):
        yield Reject(where, Reason.MEDIA, "the answer is an image", f"{text}\n{told_text}")
        return
    if not told_text:
        yield Reject(where, Reason.EMPTY_OUTPUT, "an empty answer", text)
        return
    if not text:
        detail = "nothing but an image" if asked.images else "an empty question"
        yield Reject(where, Reason.EMPTY_INPUT, detail, told_text)
        return
    if asked.images and options.images == "refuse":
        yield Reject(where, Reason.MEDIA, "the question shows an image", text)
        return
    images = asked.images + told.images
    if images:
        repairs.append("dropped_images")
        yield Fact("images_dropped", site, images)
    asker, asker_by = author_of(question, raw.get("question_name"), host, "question_author")
    teller, teller_by = author_of(answer, raw.get("answer_name"), host, "answer_author")
    yield _named_by(asker_by)
    yield _named_by(teller_by)
    yield make_record(
        source=NAME,
        source_id=f"{site}/{answer['Id']}",
        subset=site,
        instruction=INSTRUCTION_2023 if options.style is Style.PUBLISHED_2023 else INSTRUCTION,
        input=text,
        output=told_text,
        task=Task.OPEN_QA,
        license=told_under,
        url=f"{host}/questions/{question['Id']}",
        authors=(asker, teller),
        meta=_meta(question, answer, host, asked_under, images, asked.images),
        repairs=repairs,
    )


def _meta(
    question: Mapping[str, str],
    answer: Mapping[str, str],
    host: str,
    question_license: str,
    images: int,
    asked_images: int,
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "answer_url": f"{host}/a/{answer['Id']}",
        "question_id": question["Id"],
        "question_license": question_license,
        "accepted": question.get("AcceptedAnswerId") == answer["Id"],
        "changes": CHANGES,
    }
    for key, post, name in (
        ("answer_score", answer, "Score"),
        ("answer_pm_score", answer, "PmScore"),
        ("question_score", question, "Score"),
    ):
        value = post.get(name, "")
        if value.removeprefix("-").isdecimal():
            meta[key] = int(value)
    for key, post in (("answer_created", answer), ("question_created", question)):
        if created := post.get("CreationDate"):
            meta[key] = created[:10]
    if tags := split_tags(question.get("Tags", "")):
        meta["tags"] = tags
    if question.get("ClosedDate"):
        meta["closed"] = True
    if answer.get("CommunityOwnedDate"):
        meta["community_wiki"] = True
    if images:
        meta["images_dropped"] = images
    if asked_images:
        meta["flags"] = ["question_shows_an_image"]
    return meta


@cache
def _named_by(how: str) -> Fact:
    return Fact("authors_named_by", how)


@lru_cache(maxsize=256)
def _render_question(body: str, host: str) -> Rendered:
    """`render_html`, remembered: the answers of one question follow each other closely."""
    return render_html(body, base_url=f"{host}/")


def site_url(site: str) -> str:
    """The address of a site, without a final slash.

    >>> site_url("biology"), site_url("mathoverflow.net")
    ('https://biology.stackexchange.com', 'https://mathoverflow.net')
    """
    return f"https://{site}" if "." in site else f"https://{site}.stackexchange.com"


def license_of(post: Mapping[str, str]) -> str | None:
    """The licence that a post states, else that of its day; None for one that is not known."""
    if stated := post.get("ContentLicense"):
        return _license_stated(stated)
    created = post.get("CreationDate", "")
    if not created:
        return "cc-by-sa"
    return next((key for day, key in LICENSE_SINCE if created[:10] >= day), "cc-by-sa-2.5")


@lru_cache(maxsize=64)
def _license_stated(stated: str) -> str | None:
    match = _STATED.fullmatch(stated.strip())
    return f"cc-by-sa-{match.group(1)}" if match else None


def author_of(
    post: Mapping[str, str], name: str | None, host: str, role: str
) -> tuple[Author, str]:
    """Whom to name for a post, and how the name was found.

    A deleted user has no profile any more: then the link leads to the post, where the name stands.
    """
    number = post.get("OwnerUserId", "")
    shown = normalise(given) if (given := name or post.get("OwnerDisplayName")) else ""
    profile = f"{host}/users/{number}" if number.isdecimal() else ""
    kind = "questions" if role == "question_author" else "a"
    place = f"{host}/{kind}/{post['Id']}"
    if shown:
        how = "display_name" if profile else "display_name_of_deleted_user"
        return Author(shown, profile or place, role), how
    if profile:
        return Author(f"user {number}", profile, role), "user_number"
    if number == "-1":
        return Author("Community", f"{host}/users/-1", role), "community_user"
    return Author("anonymous", place, role), "anonymous"


def split_tags(tags: str) -> list[str]:
    """`<a><b>` (dumps to 2023) or `|a|b|` (since 2024) as a list.

    >>> split_tags("<r><blast>"), split_tags("|r|blast|")
    (['r', 'blast'], ['r', 'blast'])
    """
    return [tag for tag in tags.replace("<", "|").replace(">", "|").split("|") if tag]


_DUPLICATE_NOTICE = re.compile(
    r"\A> \*\*Possible Duplicates?:\*\*[ \t]*\n(?:>.*\n?)+\n*", re.IGNORECASE
)


def drop_duplicate_notice(text: str) -> tuple[str] | None:
    """The text without the notice that older closed questions begin with; None without one."""
    found = text.startswith("> **") and _DUPLICATE_NOTICE.match(text)
    return (text[found.end() :].strip(),) if found else None


def _files(site: str, host: str, *also: str) -> tuple[File, File]:
    """The archive of a site, which holds posts and users, and a loose file of users."""
    archive = File(
        f"{host}.7z",
        url=f"https://archive.org/download/stackexchange/{host}.7z",
        subset=site,
        also=(*also, f"{site}/Posts.xml"),
        optional=True,
    )
    return archive, File(f"{site}/Users.xml", subset=site, role="users", optional=True)


def raw_texts(post: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of an answer and its question, for `check --against-raw`."""
    title, body = post["parent"].get("Title", ""), post["parent"].get("Body", "")
    yield post["Id"], {"input": f"{html.escape(title)}<p>{body}</p>", "output": post["Body"]}


SOURCE = Source(
    name=NAME,
    title="Stack Exchange questions and answers",
    homepage="https://archive.org/details/stackexchange",
    citation="Stack Exchange, Inc., Stack Exchange Data Dump, archive.org",
    license="cc-by-sa-4.0",
    free_text=True,
    license_note=(
        "Each row carries the version of its answer (2.5, 3.0 or 4.0); the question's is in meta."
    ),
    upstream=Origin(
        files=(
            *(
                file
                for site in ("academia", "bioinformatics", "biology", "fitness")
                for file in _files(site, f"{site}.stackexchange.com")
            ),
            *_files("health", "medicalsciences.stackexchange.com", "health.stackexchange.com.7z"),
        ),
        read=stack_dump.read,
        convert=convert,
        raw_texts=RawTexts(
            raw_texts,
            key=lambda source_id: source_id.rpartition("/")[2],
            markup="html",
            element="row",
            member="Posts.xml",
            parent=("ParentId", "Id"),
            repairs={DUPLICATE_NOTICE: r"input: (?i:possible duplicates?) .* → "},
        ),
    ),
    mixed_languages=True,
    refuse=frozenset({Reason.TOO_SHORT, Reason.LINK_ONLY}),
    provenance=Provenance(
        text_sources=("stackexchange.com",),
        arxiv=PAPER_ARXIV,
        creators=("Stack Exchange contributors",),
    ),
    counts_2023=tuple(
        Count2023(
            "Every answer with a score of at least 5 today, from a later dump: later votes and "
            "posts add rows; the counts of the README and of the data description differ among "
            "themselves.",
            published=published,
            mix=mix,
            paper=published,
            subset=site,
        )
        for site, published, mix in (
            ("academia", 39_633, 40_865),
            ("biology", 7_482, 27_887),
            ("fitness", 3_026, 9_833),
            ("health", 1_428, 7_721),
            ("bioinformatics", 906, 5_407),
        )
    ),
    notes=(
        "Names come from the Users.xml in the archive; beside a plain Posts.xml give it with "
        "--file stack_exchange:SITE:users=PATH, else authors are named by number.",
        "The health site is called medicalsciences today; older uploads have the old name.",
    ),
)
