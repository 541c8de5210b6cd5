"""CORD-19: from abstract to title (Wang et al. 2020), out of metadata.csv or the release archive.

The file has one row per place where a paper was found, so that a `cord_uid` can stand in several;
of those with title and abstract the best stays (see `rank`), the others are duplicates. The
collection may be used for text and data mining; which papers may be passed on is said per row, and
only cc0, cc-by, cc-by-sa and cc-by-nc are taken as such: every other row stays local.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

from meadow.licenses import LICENSES
from meadow.readers.delimited import with_header
from meadow.schema import (
    Author,
    Raw,
    Reason,
    Record,
    Refused,
    Reject,
    Style,
    Task,
    make_record,
    one_record,
)
from meadow.source import Count2023, File, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.published import published_origin, published_row
from meadow.text.language import is_foreign

NAME = "cord19"
HOMEPAGE = "https://github.com/allenai/cord19"
RELEASE = "2022-06-02"
REQUIRED = ("cord_uid", "title", "abstract", "license")
"""The columns that old releases and shortened copies have too."""
FACTS = ("doi", "pmcid", "pubmed_id", "arxiv_id", "journal", "publish_time", "source_x")
"""What of a row goes to `meta`, beside its licence."""
LOCAL_ONLY = "cord19-tdm"
PUBLISHABLE = {
    "cc0": "cc0-1.0",
    "cc-by": "cc-by",
    "cc-by-sa": "cc-by-sa",
    "cc-by-nc": "cc-by-nc",
}
INSTRUCTION = "Write a title for this abstract."
INSTRUCTION_2023 = "Please summerize the given abstract to a title"

# "Abstract" as a heading: before a mark, or before what can only begin a sentence. "Abstract
# reasoning is ..." keeps its word, "Abstract Arterial pressure is ..." does not.
_HEADING = re.compile(
    r"(?:ABSTRACT|Abstract|abstract)(?:\s*[:.–—]\s*|\s+-\s*|-(?=[A-Z])"
    r"|\s+(?=[A-Z0-9\[(“\"])(?!(?:Reasoning|Thinking|Thought|Concept|Syntax|Data|Art"
    r"|Algebra(?:ic)?|Expression|Interpretation|Screening|Submission|Book|Language|Word"
    r"|Argument(?:ation)?|State|Meaning|Semantic|Machine|Noun|Idea|Factory|Factorie)s?(?![\w-]))"
    r"|(?=[A-Z][a-z]))"
)
# What says that there is no abstract, or that the row is no paper of its own.
_NO_ABSTRACT = re.compile(
    r"\W*click here to (?:listen|view|read|hear|watch|download|access)\b.{0,150}\Z"
    r"|\W*this (?:corrects|retracts|article corrects)\b.{0,250}\Z"
    r"|\W*(?:abstract not available|this article has no abstract|no abstract provided)\W*\Z",
    re.IGNORECASE | re.DOTALL,
)
_CORRECTION = re.compile(
    r"\W*(?:(?:author|publisher) )?(?:correction|corrigendum|erratum|errata|retraction)s?"
    r"(?: (?:note|notice))?(?: (?:to|for):? *(?=[“\"'‘]|(?-i:[A-Z]))|\s*[:.–—]|\s+-|\W*\Z)",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[^\W\d_]")
_PLACEHOLDERS = {
    "abstract",
    "n/a",
    "na",
    "nan",
    "none",
    "null",
    "unknown",
    "not available",
    "no abstract",
    "no abstract available",
    "[figure: see text]",
    "[image: see text]",
}
_LONGEST_PLACEHOLDER = max(map(len, _PLACEHOLDERS))
"""Case folding makes no text shorter."""


def rank(raw: Raw) -> int:
    """How good a row is among those of its paper.

    First a licence that allows passing on, then the longer abstract.
    """
    publishable = raw["license"].strip().lower() in PUBLISHABLE
    return publishable << 40 | len(raw["abstract"].strip())


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One metadata row -> one record: its abstract, then its title."""
    where, uid = str(raw["_where"]), raw["cord_uid"].strip()
    title, abstract = raw["title"].strip(), raw["abstract"].strip()
    if not uid:
        yield Reject(where, Reason.MISSING_FIELD, "no cord_uid", title)
        return
    old = options.style is Style.PUBLISHED_2023
    if reason := reason_to_reject(title, abstract, old=old):
        yield Reject(where, *reason, f"{title} | {abstract}")
        return
    text, repairs = (abstract, ()) if old else strip_heading(abstract, title)
    url = address(raw)
    authors = authors_of(raw.get("authors", ""), url)
    stated = raw["license"].strip().lower()
    license = PUBLISHABLE.get(stated, LOCAL_ONLY)
    if LICENSES[license].attribution and not (url and authors):
        # what cannot be attributed cannot be passed on
        license = LOCAL_ONLY
    meta = {name: fact for name in FACTS if (fact := raw.get(name, "").strip())}
    meta["license"] = stated
    yield make_record(
        source=NAME,
        source_id=uid,
        instruction=INSTRUCTION_2023 if old else INSTRUCTION,
        input=text,
        output=title,
        task=Task.SUMMARIZATION,
        license=license,
        url=url,
        authors=authors,
        meta=meta,
        repairs=repairs,
    )


@one_record
def convert_published(raw: Raw, options: Options) -> Record:
    """A row of the 2023 release: no id, no authors, no licence per paper, so local only."""
    row = published_row(raw)
    title, abstract = row.output.strip(), row.input.strip()
    old = options.style is Style.PUBLISHED_2023
    if reason := reason_to_reject(title, abstract, old=old):
        raise Refused(*reason, f"{title} | {abstract}")
    text, repairs = (row.input, ()) if old else strip_heading(abstract, title)
    return make_record(
        source=NAME,
        key=(abstract, title),
        instruction=row.instruction if old else INSTRUCTION,
        input=text,
        output=row.output if old else title,
        task=Task.SUMMARIZATION,
        license=LOCAL_ONLY,
        repairs=repairs,
    )


def reason_to_reject(title: str, abstract: str, *, old: bool = False) -> tuple[Reason, str] | None:
    """Why a row is no example; None where it is one. The release of 2023 looked less closely."""
    if not abstract:
        return Reason.EMPTY_INPUT, "no abstract"
    if not title:
        return Reason.EMPTY_OUTPUT, "no title"
    if is_placeholder(abstract):
        return Reason.BOILERPLATE, "the abstract is a placeholder"
    if old:
        return None
    if _NO_ABSTRACT.match(abstract) or not _LETTERS.search(abstract):
        return Reason.BOILERPLATE, "the abstract is none"
    if not _LETTERS.search(title):
        return Reason.BOILERPLATE, "the title is none"
    if _CORRECTION.match(title):
        return Reason.BOILERPLATE, "a correction of another paper"
    return (Reason.LANGUAGE, "not English") if is_foreign(abstract) else None


def is_placeholder(abstract: str) -> bool:
    """Whether the abstract only says that there is none."""
    if abstract[_LONGEST_PLACEHOLDER : _LONGEST_PLACEHOLDER + 1] not in ("", "."):
        return False
    return abstract.rstrip(".").casefold() in _PLACEHOLDERS


def strip_heading(abstract: str, title: str = "") -> tuple[str, tuple[str, ...]]:
    """The abstract without the word "Abstract" that headed it.

    Args:
        abstract: As upstream has it.
        title: Its paper's: where the title speaks of what is abstract, so may the first sentence.
    """
    found = _HEADING.match(abstract)
    if found is None or found.end() == len(abstract):
        return abstract, ()
    if found[0].strip().isalpha() and "abstract" in title.casefold():
        return abstract, ()
    return abstract[found.end() :], ("abstract_heading",)


def address(raw: Raw) -> str | None:
    """Where the paper is found: by DOI, then PubMed Central, PubMed, arXiv, its first address."""
    if doi := raw.get("doi", "").strip():
        return doi if doi.startswith("http") else f"https://doi.org/{doi}"
    if pmcid := raw.get("pmcid", "").strip():
        return f"https://www.ncbi.nlm.nih.gov/pmc/articles/{pmcid}/"
    if pubmed_id := raw.get("pubmed_id", "").strip():
        return f"https://pubmed.ncbi.nlm.nih.gov/{pubmed_id}/"
    if arxiv_id := raw.get("arxiv_id", "").strip():
        return f"https://arxiv.org/abs/{arxiv_id}"
    first = raw.get("url", "").partition(";")[0].strip()
    return first if first.startswith(("http://", "https://")) else None


def authors_of(column: str, url: str | None) -> tuple[Author, ...]:
    """The `; `-joined names ("Family, Given") as authors, each once."""
    if not column.isprintable() or "  " in column:  # other white space than single spaces
        column = " ".join(column.split())
    names = dict.fromkeys(map(str.strip, column.split(";")))
    names.pop("", None)
    return tuple(map(Author, names, repeat(url)))


def raw_texts(item: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of a paper's title and abstract, for `check --against-raw`."""
    yield item["cord_uid"].strip(), {"input": item["abstract"], "output": item["title"]}


SOURCE = Source(
    name=NAME,
    title="CORD-19 abstracts and titles",
    homepage=HOMEPAGE,
    citation=(
        "Wang et al., CORD-19: The COVID-19 Open Research Dataset, Workshop on NLP for COVID-19 "
        "at ACL 2020"
    ),
    license=LOCAL_ONLY,
    varies=True,
    free_text=False,
    markup=False,
    license_note=(
        "The agreement allows text and data mining; each row carries its paper's licence, and only "
        "cc0, cc-by, cc-by-sa and cc-by-nc rows may be passed on."
    ),
    upstream=Origin(
        files=(
            File(
                f"cord-19_{RELEASE}.tar.gz",
                url=(
                    "https://ai2-semanticscholar-cord-19.s3-us-west-2.amazonaws.com/"
                    f"historical_releases/cord-19_{RELEASE}.tar.gz"
                ),
                member="metadata.csv",
                also=("metadata.csv", "cord-19_*.tar.gz", "metadata*.csv*"),
            ),
        ),
        read=with_header(REQUIRED, (*FACTS, "authors", "url")),
        convert=convert,
        rank=rank,
        expected_rows=1_056_660,
        raw_texts=RawTexts(
            raw_texts,
            member="metadata.csv",
            repairs={"abstract_heading": r"input: \|(?i:abstract)(\w*) → \1"},
        ),
    ),
    published=published_origin(
        "medical_meadow_cord19",
        "medical_meadow_cord19.json",
        convert_published,
        revision="f48ea381cb3ae21178d8a573bb1a8995d4ab6b11",
        rows=821_007,
    ),
    provenance=Provenance(
        text_sources=("PubMed Central", "PubMed", "arxiv.org", "biorxiv.org", "medrxiv.org", "WHO"),
        arxiv="https://arxiv.org/abs/2004.10706",
        github=HOMEPAGE,
        derived=("CORD-19",),
        creators=("Allen Institute for AI",),
    ),
    counts_2023=(
        Count2023(
            "2023 took every abstract; rows whose paper may not be republished are local only "
            "here.",
            published=821_007,
            mix=50_000,
        ),
    ),
    notes=("A candidate is one row of metadata.csv; of the rows of one cord_uid the best stays.",),
    version=4,
)
