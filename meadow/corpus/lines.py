"""Rows as lines of JSON, for trainers and tools that read no Parquet.

`rows` has every column of a row, `meta` as the object that it is; `jsonl` has the instruction,
input and output of a row with its id, source, licence, address and authors (as text: a column that
is empty in the first thousand lines must not get another type); `sharegpt` has the same facts
beside the turns; `openai` has the turns alone, since the services that read it know no other key.
The rows stand in the order of the mix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from meadow.atomic import replacing
from meadow.corpus.commit import holds
from meadow.corpus.manifest import NamedFile
from meadow.errors import UsageError
from meadow.schema import messages_of

if TYPE_CHECKING:
    from meadow.corpus.folder import Corpus

Form = Literal["jsonl", "sharegpt", "openai", "rows"]
FORMS: tuple[Form, ...] = get_args(Form)
BATCH_ROWS = 1024
_SHAREGPT = {"user": "human", "assistant": "gpt"}
_READ = ("instruction", "input", "output", "meta", "id", "source", "license", "url", "authors")


def write_lines(
    corpus: Corpus, form: Form, out: Path, split: str | None, config: str | None = None
) -> NamedFile:
    """Write rows as lines of JSON; a file that holds exactly these lines is left alone.

    Raises:
        UsageError: There is no such split or config, or the file is another, or its name does not
            say that it holds lines.
    """
    if out.suffix != ".jsonl":
        raise UsageError(
            "the file will hold one JSON object a line",
            where=str(out),
            fix=f"give it a name that says so: {out.with_suffix('.jsonl').name}",
        )
    corpus.shards(config, split)  # before anything is written: are there such rows?
    with replacing(out) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines(corpus, form, split, config):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        written = NamedFile.of(temporary, out.name)
        if out.exists() and not holds(out, written.sha256):
            raise UsageError(
                "the file is there and holds something else",
                where=str(out),
                fix="choose another --out, or remove the file",
            )
    return written


def lines(
    corpus: Corpus, form: Form, split: str | None, config: str | None = None
) -> Iterator[dict[str, Any]]:
    """The lines of a split, in the order of its rows."""
    make = _MAKERS[form]
    columns = None if form == "rows" else list(_READ)
    for table in corpus.iter_tables(config, split, columns=columns):
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            yield from map(make, batch.to_pylist())


def _facts(row: Mapping[str, Any]) -> dict[str, str]:
    named = [f"{a['name']} {a['url'] or ''}".rstrip() for a in row["authors"] or ()]
    return {
        **{name: row[name] or "" for name in ("id", "source", "license", "url")},
        "authors": "; ".join(named),
    }


def _turns(row: Mapping[str, Any]) -> list[dict[str, str]]:
    return messages_of(row["instruction"], row["input"], row["output"], row["meta"])


_MAKERS: Mapping[Form, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "jsonl": lambda row: (
        {name: row[name] for name in ("instruction", "input", "output")} | _facts(row)
    ),
    "sharegpt": lambda row: {
        "conversations": [
            {"from": _SHAREGPT[turn["role"]], "value": turn["content"]} for turn in _turns(row)
        ],
        **_facts(row),
    },
    "openai": lambda row: {"messages": _turns(row)},
    "rows": lambda row: {**row, "meta": json.loads(row["meta"])},
}
