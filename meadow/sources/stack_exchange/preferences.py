"""stack-exchange-preferences on the Hub (Lambert et al. 2023): the 2023 route, as Parquet.

A row is a question with its answers. An answer has no vote count but `pm_score`:
round(log2(1 + upvotes)), plus 1 where it was accepted, -1 where the votes are negative. A score of
at least 5 is a `pm_score` of at least 3 once that 1 is taken off. The votes are those of the dump
that the data set was made from, and it says neither titles nor the dates of answers, so that texts
and counts differ a little from a dump of another day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Input, Options

MIN_PM_SCORE = 3
COLUMNS = ("qid", "question", "answers", "date", "metadata")
ANSWER_FIELDS = ("answer_id", "author", "author_profile", "pm_score", "selected", "text")
_BATCH_ROWS = 256


def read_site(
    site: str, inputs: Sequence[Input], options: Options
) -> Iterator[Raw | Reject | Fact]:
    """The selected pairs of one site, in file order, in the shape of `stack_dump.read`.

    Raises:
        FileError: Not a Parquet file, or damaged.
        UpstreamChangedError: A needed column is gone.
    """
    for item in inputs:
        yield from _read_file(site, item, options)


def _read_file(site: str, item: Input, options: Options) -> Iterator[Raw | Reject | Fact]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    questions = 0
    try:
        with pq.ParquetFile(item.path) as file:
            _check_columns(file.schema_arrow, item)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    questions += 1
                    yield from _pairs(site, row, f"{item.label}:{questions}", options)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise FileError(
            f"the Parquet file cannot be read: {fault}", where=item.label, fix="fetch it again"
        ) from fault
    yield Fact("posts_read", "question", questions)


def _check_columns(schema: Any, item: Input) -> None:
    missing = [name for name in COLUMNS if name not in schema.names]
    if not missing:
        answer = schema.field("answers").type.value_type
        known = {answer.field(i).name for i in range(answer.num_fields)}
        missing = [f"answers.{name}" for name in ANSWER_FIELDS if name not in known]
    if missing:
        raise UpstreamChangedError(
            f"columns are gone: {', '.join(missing)}",
            where=item.label,
            fix="this is no file of stack-exchange-preferences, or of a newer layout",
        )


def _pairs(site: str, row: dict[str, Any], where: str, options: Options) -> Iterator[Raw | Reject]:
    candidates = [
        answer
        for answer in row["answers"] or ()
        if answer["pm_score"] is not None
        and answer["pm_score"] - bool(answer["selected"]) >= MIN_PM_SCORE
    ]
    candidates.sort(key=lambda answer: answer["answer_id"])
    if options.answers == "accepted":
        candidates = [answer for answer in candidates if answer["selected"]]
    elif options.answers == "top":
        candidates = sorted(
            candidates,
            key=lambda a: (a["selected"] - a["pm_score"], not a["selected"], a["answer_id"]),
        )[:1]
    addresses = [str(address) for address in row["metadata"] or ()]
    profile = next((address for address in addresses if "/users/" in address), None)
    for answer in candidates:
        place = f"{where}/answers/{answer['answer_id']}"
        if not isinstance(row["question"], str) or not isinstance(answer["text"], str):
            yield Reject(place, Reason.MISSING_FIELD, "no text of the question or the answer")
            continue
        question_row = {
            "Id": str(row["qid"]),
            "PostTypeId": "1",
            "Body": row["question"],
            "CreationDate": str(row["date"] or "").replace("/", "-"),
        }
        answer_row = {
            "Id": str(answer["answer_id"]),
            "PostTypeId": "2",
            "ParentId": str(row["qid"]),
            "Body": answer["text"],
            "PmScore": str(answer["pm_score"]),
        }
        _add_author(question_row, None, profile)
        _add_author(answer_row, answer["author"], answer["author_profile"])
        if answer["selected"]:
            question_row["AcceptedAnswerId"] = answer_row["Id"]
        yield {
            "_where": place,
            "site": site,
            "question": question_row,
            "answer": answer_row,
            "question_name": None,
            "answer_name": answer["author"] or None,
        }


def _add_author(post: dict[str, str], name: str | None, profile: str | None) -> None:
    number = (profile or "").rstrip("/").rpartition("/users/")[2].split("/")[0]
    if number.isdecimal():
        post["OwnerUserId"] = number
    elif name:
        post["OwnerDisplayName"] = name
