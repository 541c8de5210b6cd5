"""What is to be taken down: the names that were asked for, and the list that keeps rows out.

Who holds a row says `meadow.quality.trace`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from meadow.atomic import write_text
from meadow.config import listed_ids
from meadow.corpus.names import normal_name
from meadow.errors import FileError, UsageError

_DOI_COLUMNS = ("originalpaperdoi", "doi")
_PUBMED_COLUMNS = ("originalpaperpubmedid", "pubmedid", "pubmed_id", "pmid")


def asked_names(given: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that were given one by one, and those of the lists among them.

    A list is a file: a CSV (such as Retraction Watch's) with columns of DOIs or PubMed numbers, of
    which only retractions count where it says what each line is; or one name a line.

    Raises:
        FileError: A file cannot be read.
        UsageError: A CSV has no such column.
    """
    single: list[str] = []
    listed: list[str] = []
    for one in given:
        path = Path(one)
        if not path.is_file():
            single.append(normal_name(one))
            continue
        try:
            names = _retracted(path) if path.suffix.lower() == ".csv" else listed_ids(path)
            listed += map(normal_name, names)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"the list cannot be read: {error}", where=str(path)) from error
    return list(dict.fromkeys(filter(None, single))), list(dict.fromkeys(filter(None, listed)))


def _retracted(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        columns = {str(name).strip().lower(): str(name) for name in rows.fieldnames or ()}
        doi, number = (
            next((columns[name] for name in names if name in columns), None)
            for names in (_DOI_COLUMNS, _PUBMED_COLUMNS)
        )
        nature = columns.get("retractionnature")
        if doi is None and number is None:
            raise UsageError(
                "the list has no column of DOIs or PubMed numbers",
                where=str(path),
                fix=f"name one of its columns {', '.join((*_DOI_COLUMNS, *_PUBMED_COLUMNS))}",
            )
        for row in rows:
            if nature is not None and (row[nature] or "").strip().lower() != "retraction":
                continue
            if doi is not None and (row[doi] or "").strip().startswith("10."):
                yield f"doi:{row[doi].strip()}"
            if number is not None and (row[number] or "").strip().strip("0").isdigit():
                yield f"pmid:{row[number].strip()}"


def exclude(path: Path, names: Iterable[str], why: str = "") -> list[str]:
    """Add names (as `normal_name` spells them) to a list of ids taken down; which of them were new.

    The list need not be there; `why` is a comment that stands above the names.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    known = {normal_name(name) for name in listed_ids(path)} if text else set()
    added = [name for name in dict.fromkeys(names) if name not in known]
    if added:
        comment = [f"# {' '.join(why.split())}"] if why else []
        before = text if not text or text.endswith("\n") else f"{text}\n"
        write_text(path, before + "\n".join([*comment, *added]) + "\n")
    return added
