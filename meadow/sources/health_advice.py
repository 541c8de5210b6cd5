r"""Health advice in PubMed abstracts and discussions (Li, Wang and Yu 2021): three CSV layouts.

Which file a row comes from is told by its columns, so that any file name will do. Sentences from
discussions carry citation numbers glued to words ("infection17,18."); where upstream marks such a
citation, the numbers are removed and the repair is counted. So are characters that upstream has as
the numbers that a program wrote for them (`\u2009`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meadow.readers.delimited import with_header
from meadow.schema import (
    Raw,
    Reason,
    Record,
    Refused,
    Style,
    Task,
    make_record,
    normalise_key,
    one_record,
)
from meadow.source import Count2023, File, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.own.source import as_characters
from meadow.sources.published import published_origin, published_row
from meadow.text.clean import decode_escapes

NAME = "health_advice"
LABELS = {"0": "no_advice", "1": "weak_advice", "2": "strong_advice"}
INSTRUCTION = (
    "Does this sentence from a medical paper give health advice? Answer with no advice, weak "
    "advice or strong advice."
)
OUTPUTS = {"0": "No advice", "1": "Weak advice", "2": "Strong advice"}
OUTPUTS_2023 = {
    "0": "This is no advice",
    "1": "This is a weak advice",
    "2": "This is a strong advice",
}
_GLUED_CITATION = re.compile(r"(?<=[a-z]{4})\d{1,3}(?:[,–-]\d{1,3})*(?=[.,;:)]?(?:\s|$))")


def section(raw: Raw) -> str | None:
    """Which of the three files a row comes from, by the columns that only that file has.

    None for a row of the 2023 release, which does not say.
    """
    if "design" in raw:
        return "structured_abstract"
    if "citation_mentioned" in raw:
        return "discussion"
    return "unstructured_abstract" if "rel_loc" in raw else None


def make(raw: Raw, options: Options) -> Record:
    """One sentence -> one record; the PMID gives the address, not the id: it repeats."""
    label, pmid = raw["label"].strip(), raw["pmid"].strip()
    if label not in LABELS:
        detail = f"label {label!r} is not one of 0, 1, 2"
        raise Refused(Reason.UNKNOWN_LABEL, detail, raw["sentence"])
    sentence = normalise_key(raw["sentence"])
    if not sentence:
        raise Refused(Reason.EMPTY_INPUT, "no sentence")
    repairs = ["normalised_whitespace"] if sentence != raw["sentence"] else []
    old = options.style is Style.PUBLISHED_2023
    text = sentence if old else normalise_key(decode_escapes(sentence))
    if text != sentence:
        repairs.append("decoded_escapes")
    if not old and raw.get("citation_mentioned") == "1":
        bare = _GLUED_CITATION.sub("", text)
        if bare != text:
            text = bare
            repairs.append("removed_glued_citation")
    meta = {"label": LABELS[label]}
    part = section(raw)
    if part is not None:
        meta["section"] = part
    if raw.get("design"):
        meta["design"] = raw["design"].strip()
    return make_record(
        source=NAME,
        key=(sentence,),
        subset=part,
        instruction=INSTRUCTION,
        input=text,
        output=(OUTPUTS_2023 if old else OUTPUTS)[label],
        task=Task.CLASSIFICATION,
        license="unknown",
        url=f"https://pubmed.ncbi.nlm.nih.gov/{pmid}/" if pmid.isdecimal() else None,
        meta=meta,
        repairs=repairs,
    )


@one_record
def convert_published(raw: Raw, options: Options) -> Record:
    """A row of the 2023 release, turned back into a sentence and its label."""
    row = published_row(raw)
    told = row.output.strip().rstrip(".").casefold()
    labels = [label for label, text in OUTPUTS_2023.items() if text.casefold() == told]
    label = labels[0] if labels else row.output
    return make({"label": label, "pmid": "", "sentence": row.input}, options)


_ADDRESS = "https://raw.githubusercontent.com/junwang4/detecting-health-advice/master/data/"


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a sentence and its label, for `check --against-raw`."""
    yield None, {"input": as_characters(item["sentence"]), "output": OUTPUTS[item["label"].strip()]}


SOURCE = Source(
    name=NAME,
    title="Health advice in PubMed sentences",
    homepage="https://github.com/junwang4/detecting-health-advice",
    citation=(
        "Li, Wang and Yu, Detecting Health Advice in Medical Research Literature, EMNLP 2021"
    ),
    license="unknown",
    free_text=False,
    license_note="The repository states no licence.",
    upstream=Origin(
        files=tuple(
            File(
                f"annotations_{part}.csv",
                url=f"{_ADDRESS}annotations_{part}.csv",
                also=(f"data/annotations_{part}.csv",),
            )
            for part in ("structured_abstract", "unstructured_abstract", "discussion")
        ),
        read=with_header(("label", "pmid", "sentence")),
        convert=one_record(make),
        raw_texts=RawTexts(
            raw_texts, repairs={"removed_glued_citation": r"input: \d[\d,]*(?: -?\d[\d,]*)* → "}
        ),
        expected_rows=10_848,
    ),
    published=published_origin(
        "medical_meadow_health_advice",
        "medical_meadow_health_advice.json",
        convert_published,
        rows=8_676,
    ),
    provenance=Provenance(
        text_sources=("PubMed",),
        github="https://github.com/junwang4/detecting-health-advice",
        creators=("Syracuse University",),
    ),
    counts_2023=(
        Count2023(
            "The README prints 10,178, which is MedQA's count; upstream has 10,848 rows, here "
            "less duplicates and conflicts.",
            published=8_676,
            mix=10_178,
        ),
    ),
    version=2,
    notes=("The 2023 card cites another paper, and its README states 10,178 rows: MedQA's count.",),
)
