r"""Causal language in PubMed conclusions (Yu, Li and Wang 2019), one CSV: sentence, label.

The 2023 release is mislabelled: its first row says "directly correlative" where upstream says "no
relationship", and its label frequencies are upstream's shifted by one. Both styles here use the
upstream labels, and origin `published` is refused. Some sentences hold characters as the numbers
that a program wrote for them (`\xa0`); style `meadow` has the characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meadow.readers.delimited import with_header
from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record, normalise_key
from meadow.source import Count2023, File, Options, Origin, Provenance, RawTexts, Source
from meadow.text.clean import decode_escapes

NAME = "pubmed_causal"
LABELS = {
    "0": "no_relationship",
    "1": "direct_causal",
    "2": "conditional_causal",
    "3": "correlational",
}
INSTRUCTION = (
    "Which relationship does this sentence from a medical paper claim: no relationship, direct "
    "causal, conditional causal or correlational?"
)
INSTRUCTION_2023 = (
    "Question: Is this describing a (1) directly correlative relationship, (2) conditionally "
    "causative relationship, (3) causative relationship, or (0) no relationship."
)
OUTPUTS = {
    "0": "No relationship",
    "1": "Direct causal",
    "2": "Conditional causal",
    "3": "Correlational",
}
OUTPUTS_2023 = {
    "0": "This no relationship.",
    "1": "This is a causative relationship",
    "2": "This is a conditionally causative relationship",
    "3": "This is a directly correlative relationship",
}


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One sentence -> one record with upstream's label, in either style."""
    where, label = raw["_where"], raw["label"].strip()
    if label not in LABELS:
        detail = f"label {label!r} is not one of 0, 1, 2, 3"
        yield Reject(where, Reason.UNKNOWN_LABEL, detail, raw["sentence"])
        return
    if not raw["sentence"].strip():
        yield Reject(where, Reason.EMPTY_INPUT, "no sentence")
        return
    old = options.style is Style.PUBLISHED_2023
    sentence = normalise_key(raw["sentence"])
    repairs = ["normalised_whitespace"] if sentence != raw["sentence"] else []
    text = sentence if old else normalise_key(decode_escapes(sentence))
    if text != sentence:
        repairs.append("decoded_escapes")
    yield make_record(
        source=NAME,
        key=(sentence,),
        instruction=INSTRUCTION_2023 if old else INSTRUCTION,
        input=text,
        output=(OUTPUTS_2023 if old else OUTPUTS)[label],
        task=Task.CLASSIFICATION,
        license="gpl-3.0",
        meta={"label": LABELS[label]},
        repairs=repairs,
    )


_WRITTEN = re.compile(r"(?:\\+(?:x[0-9a-f]{2}|u[0-9a-f]{4}|n))+")


def as_characters(text: str) -> str:
    """A sentence as Python reads it between quotation marks, for `check --against-raw`."""

    def read(run: re.Match[str]) -> str:
        found = run[0].replace("\\\\", "\\").encode().decode("unicode_escape")
        try:
            return found.encode("latin-1").decode()
        except UnicodeError:
            return found

    return _WRITTEN.sub(read, text)


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a sentence and its label, for `check --against-raw`."""
    yield None, {"input": as_characters(item["sentence"]), "output": OUTPUTS[item["label"].strip()]}


SOURCE = Source(
    name=NAME,
    title="Causal language in PubMed conclusions",
    homepage="https://github.com/junwang4/causal-language-use-in-science",
    citation=(
        "Yu, Li and Wang, Detecting Causal Language Use in Science Findings, EMNLP-IJCNLP 2019"
    ),
    license="gpl-3.0",
    free_text=False,
    license_note="The repository is GPL-3.0; nothing else is said of the sentences.",
    upstream=Origin(
        files=(
            File(
                "pubmed_causal_language_use.csv",
                url=(
                    "https://raw.githubusercontent.com/junwang4/causal-language-use-in-science/"
                    "master/data/pubmed_causal_language_use.csv"
                ),
                also=("data/pubmed_causal_language_use.csv",),
            ),
        ),
        read=with_header(("sentence", "label")),
        convert=convert,
        expected_rows=3_061,
        raw_texts=RawTexts(raw_texts),
    ),
    published_refused="its labels are shifted by one against upstream",
    provenance=Provenance(
        text_sources=("PubMed",),
        github="https://github.com/junwang4/causal-language-use-in-science",
        creators=("Syracuse University",),
    ),
    counts_2023=(
        Count2023(
            "2023 published 2,446 of 3,061 rows under labels shifted by one; here every row under "
            "the upstream label, less duplicates and conflicts.",
            published=2_446,
            mix=2_446,
        ),
    ),
    version=2,
)
