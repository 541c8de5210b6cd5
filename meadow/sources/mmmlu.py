"""The medical subjects of MMLU (Hendrycks et al. 2021), headerless CSV, one file a subject.

The 2023 release does not say which subjects its 3,787 rows come from; ours are listed here. The
items are an evaluation set elsewhere, so the source is marked `exam` and stays out of default
mixes. Several items stand in two subjects, word for word: the first one stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from meadow.prompt import EXAM_INSTRUCTION, exam_input
from meadow.readers import delimited
from meadow.readers.archives import is_archive, members
from meadow.schema import Raw, Reason, Record, Refused, Reject, Style, Task, make_record, one_record
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.published import multiple_choice, published_origin

NAME = "mmmlu"
INSTRUCTION_2023 = "Please answer with one of the option in the bracket"
COLUMNS = ("question", "A", "B", "C", "D", "answer")
SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "high_school_biology",
    "human_aging",
    "human_sexuality",
    "medical_genetics",
    "nutrition",
    "professional_medicine",
    "virology",
)


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The rows of each subject's CSV, plain or inside the release's data.tar."""
    for item in inputs:
        if not is_archive(item.path):
            yield from _with_subject(item, subject_of(item.label))
            continue
        for name, stream in members(item.path, suffix="_test.csv"):
            if subject_of(name) in SUBJECTS:
                inner = Input(item.path, f"{item.label}!{name}", member=name)
                yield from _with_subject(inner, subject_of(name))
            stream.close()


def _with_subject(item: Input, subject: str) -> Iterator[Raw | Reject]:
    for raw in delimited.read_file(item, COLUMNS, COLUMNS):
        yield raw if isinstance(raw, Reject) else {**raw, "subject": subject}


def subject_of(label: str) -> str:
    """The subject that a file name stands for: "test/anatomy_test.csv" -> "anatomy"."""
    stem = PurePosixPath(label).name.partition(".")[0]
    for ending in ("_test", "_dev", "_val"):
        stem = stem.removesuffix(ending)
    return stem


def make(raw: Raw, options: Options) -> Record:
    """One row -> one record; options stay text ("13" is not a number)."""
    letter = raw["answer"].strip()
    choices = {label: raw[label].strip() for label in "ABCD"}
    if letter not in choices:
        detail = f"answer {letter!r} is not among A, B, C, D"
        raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail, raw["question"])
    if not raw["question"].strip() or not all(choices.values()):
        raise Refused(Reason.MISSING_FIELD, "an empty question or option", str(raw))
    if options.style is Style.PUBLISHED_2023:
        instruction, text = INSTRUCTION_2023, f"Q:{raw['question']}? \n{choices!r},"
    else:
        instruction = EXAM_INSTRUCTION
        text = exam_input(raw["question"].strip(), list(choices.items()))
    return make_record(
        source=NAME,
        key=(raw["question"], *choices.values()),
        subset=raw["subject"],
        instruction=instruction,
        input=text,
        output=f"{letter}: {choices[letter]}",
        task=Task.MULTIPLE_CHOICE,
        license="mit",
        meta={"options": choices, "answer": letter},
    )


@one_record
def convert_published(raw: Raw, options: Options) -> Record:
    """A row of the 2023 release, turned back into upstream's form; its subject is not known."""
    found = multiple_choice(raw)
    question, choices, letter = found["question"], found["options"], found["answer_idx"]
    if sorted(choices) != list("ABCD"):
        detail = f"options {', '.join(choices)} where A, B, C, D were due"
        raise Refused(Reason.BAD_VALUE, detail, question)
    if found["answer"].strip() != choices.get(letter, "").strip():
        detail = f"{letter}: {found['answer']!r} is not among the options"
        raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail, question)
    upstream = {**choices, "question": question, "answer": letter, "subject": None}
    return make({**upstream, "_where": raw["_where"]}, options)


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of an item, for `check --against-raw`."""
    choices = "".join(f"\n{label}: {item[label]}" for label in "ABCD")
    answer = f"{item['answer']}: {item[item['answer'].strip()]}"
    yield None, {"input": item["question"] + choices, "output": answer}


SOURCE = Source(
    name=NAME,
    title="MMLU, medical subjects",
    homepage="https://github.com/hendrycks/test",
    citation="Hendrycks et al., Measuring Massive Multitask Language Understanding, ICLR 2021",
    license="mit",
    free_text=False,
    upstream=Origin(
        files=(
            File(
                "data.tar",
                url="https://people.eecs.berkeley.edu/~hendrycks/data.tar",
                also=("*_test.csv",),
            ),
        ),
        read=read,
        convert=one_record(make),
        raw_texts=RawTexts(raw_texts, columns=COLUMNS),
    ),
    published=published_origin(
        "medical_meadow_mmmlu", "medical_meadow_mmmlu.json", convert_published, rows=3_787
    ),
    provenance=Provenance(
        text_sources=("freely available practice questions",),
        arxiv="https://arxiv.org/abs/2009.03300",
        github="https://github.com/hendrycks/test",
        derived=("MMLU",),
        creators=("UC Berkeley",),
    ),
    counts_2023=(
        Count2023(
            "The 2023 list of subjects is not known; these are test items elsewhere and stay out "
            "of the default mix.",
            published=3_787,
            mix=3_787,
        ),
    ),
    exam=True,
    notes=("MMLU test items are an evaluation set: left out of every default mix.",),
)
