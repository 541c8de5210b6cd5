"""Posts.xml to a corpus, against the script that most people would write.

The peer reads the file with ElementTree, joins with pandas and takes text with beautifulsoup4; ours
is the real build with provenance, cleaning, hashes and licences. Each runs in a process of its own,
from its start on, in turn with the other, on the same invented dump (`raw_files`). Both must find
the same pairs with the same words; what ours refuses, and why, is printed. Two processes share the
one file and have to give the same bytes; what the parent does does not spread over more of them, so
that its share of all CPU time bounds what any number of cores gives; how much slower two builds at
once are than one after the other says what two cores give at most. The limit is the native work
alone: what libraries in C and Rust take to read the same lines, find the pairs, parse and render
their bodies, hash and write them, with nothing of ours in between. A second peer is what a careful
user would put together of the usual libraries (`assembled`); it is slow, so that it and ours read a
fifth of the input once each.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers import NotToBeHad, interpreter, versions
from benchmarks.raw_files import Posts, write_posts
from support.measured import medians, run_program, table

from meadow.atomic import LOCK_NAME

SIZE_MB = 300
ROUNDS = 3
PEER_NAME = "ElementTree + pandas + bs4"
ASSEMBLED_NAME = "datatrove + bs4 + ftfy + presidio + py3langid"
ASSEMBLED = "the usual libraries, CPU"
LIMIT_NAME = "the limit: native work alone"
OF_THE_LIMIT = "one process over the limit, CPU"
OVER_ONE = "two processes over one"
AT_ONCE = "two builds at once, one process each, over one after the other"
TARGETS = {"one process, CPU": 2.5, "two processes": 4.5, ASSEMBLED: 8, OVER_ONE: 1.85}
"""Peer over ours, wall time where it does not say otherwise."""
PARENT = "two processes: the parent's share of CPU"
LIMITS = {OF_THE_LIMIT: 2.5, "peak MB, one process": 700, PARENT: 0.05}
"""Whole processes too: an interpreter's start and imports count."""

PEER = """
import sys
from xml.etree import ElementTree
import pandas as pd
from bs4 import BeautifulSoup
import datasets
rows = [dict(e.attrib) for _, e in ElementTree.iterparse(sys.argv[1]) if e.tag == "row"]
frame = pd.DataFrame(rows)
answers = frame[(frame.PostTypeId == "2") & (frame.Score.astype(int) >= 5)]
pairs = answers.merge(frame[frame.PostTypeId == "1"], left_on="ParentId", right_on="Id")
text = lambda html: BeautifulSoup(html, "html.parser").get_text()
out = pd.DataFrame({"id": pairs.Id_x, "input": pairs.Title_y + "\\n" + pairs.Body_y.map(text),
                    "output": pairs.Body_x.map(text)})
datasets.Dataset.from_pandas(out, preserve_index=False).to_parquet(sys.argv[2])
"""
OURS = """
import sys
from pathlib import Path
from meadow.build.build import BuildSettings, build_corpus
from meadow.source import Input
workers, out, dump = sys.argv[1:]
posts = [Input(Path(dump), "Posts.xml", "site0")]
if __name__ == "__main__":
    build_corpus(BuildSettings(sources=("stack_exchange",)), {"stack_exchange": posts}, Path(out),
                 workers=int(workers))
"""
TOLD = """
import atexit, json, os, resource, time
from meadow.build import local
within, work = [0.0], local._Shared.work

def timed(self, number):
    began = time.process_time()
    work(self, number)
    within[0] += time.process_time() - began

def tell():
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.environ["MEADOW_TOLD"], "w") as file:
        json.dump(within[0] + workers.ru_utime + workers.ru_stime, file)

local._Shared.work = timed
atexit.register(tell)
"""
"""Before a program of two processes: it writes what its tasks took here, and the other process."""
LIMIT = """
import hashlib, re, sys
import polars as pl
from lxml import etree
from turbohtml import parse_fragment
head = re.compile(
    rb'<row Id="(\\d+)" PostTypeId="([12])"(?: ParentId="(\\d+)")?[^>]*? Score="(-?\\d+)"'
)
questions, answers, at = {}, [], 0
with open(sys.argv[1], "rb") as file:
    for line in file:
        if found := head.search(line):
            number, kind, parent, score = found.groups()
            if kind == b"1":
                questions[number] = at, len(line)
            elif int(score) >= 5:
                answers.append((number, parent, at, len(line)))
        at += len(line)
    def text(at, size):
        file.seek(at)
        return parse_fragment(etree.fromstring(file.read(size)).get("Body")).to_markdown()
    pairs = [(n, text(*questions[p]), text(at, size)) for n, p, at, size in answers]
digests = [hashlib.blake2b(f"{one}{other}".encode(), digest_size=16).digest()
           for _, one, other in pairs]
rows = pl.DataFrame(dict(zip(["id", "input", "output", "digest"], [*zip(*pairs), digests])))
rows.write_parquet(sys.argv[2], compression="zstd", compression_level=3)
"""


def run_two(script: str, first: Path, second: Path) -> dict[str, float]:
    """Run `OURS` in two processes; `parent_s` is what no other process could have done."""
    with tempfile.NamedTemporaryFile("r") as told:
        command = [sys.executable, "-c", TOLD + script, "2", first, second]
        took = run_program(command, {**os.environ, "MEADOW_TOLD": told.name})
        return {**took, "parent_s": took["cpu_s"] - json.load(told)}


def words(text: str) -> str:
    """Every letter and digit in order; white space and marks do not count."""
    return "".join(re.findall(r"[^\W_]", unicodedata.normalize("NFKC", text)))


def plain(markdown: str) -> str:
    """The words of ours without what Markdown adds: targets of links, numbers of list items."""
    bare = re.sub(r"\]\(https?://[^)\s]*\)", "]", markdown)
    return words(re.sub(r"(?m)^[> ]*\d+[.)] ", "", bare))


def compare(peer: Path, ours: Path) -> dict[str, Any]:
    """Rows and rejects of ours; raises where a row or a word differs from the peer's.

    Every pair of the peer must be a row of ours with the same words, or a reject with a reason.
    """
    import pyarrow.parquet as pq

    from meadow.api import open_corpus

    theirs = {row["id"]: row for row in pq.read_table(peer).to_pylist()}
    corpus = open_corpus(ours)
    entry = corpus.manifest.sources["stack_exchange"]
    if entry.rows_in != len(theirs):
        raise AssertionError(f"{entry.rows_in} pairs against {len(theirs)} of the peer")
    rows = 0
    for batch in corpus.iter_tables():
        for row in batch.to_pylist():
            other = theirs.pop(row["source_id"].partition("/")[2])
            for column in ("input", "output"):
                if plain(row[column]) != words(other[column]):
                    raise AssertionError(f"another text in {row['source_id']}")
            rows += 1
    if len(theirs) != sum(entry.rejected.values()):
        raise AssertionError(f"{len(theirs)} pairs are neither rows nor rejects")
    return {"rows": rows, "rejected": dict(entry.rejected)}


def same_bytes(one: Path, other: Path) -> None:
    """Raise where two corpora are not the same files."""
    found = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != LOCK_NAME
        }
        for folder in (one, other)
    ]
    if found[0] != found[1] or not any(path.suffix == ".parquet" for path in found[0]):
        raise AssertionError(f"{other.name} has other bytes than {one.name}")


def assembled(folder: Path, size_mb: float) -> tuple[dict[str, dict[str, float]], str]:
    """What the usual libraries and ours take for a smaller dump, and how alike the results are."""
    python, program = interpreter(), Path(__file__).with_name("assembled.py")
    dump, theirs, ours = folder / "Posts.xml", folder / "theirs", folder / "ours"
    folder.mkdir()
    made = write_posts(dump, size_mb)
    took = {
        f"{ASSEMBLED_NAME}, {size_mb:g} MB": run_program([python, program, dump, theirs]),
        f"ours, {size_mb:g} MB": run_program([sys.executable, "-c", OURS, "1", ours, dump]),
    }
    return took, f"The usual libraries, {alike(theirs, ours, made.pairs)}."


def alike(theirs: Path, ours: Path, pairs: int) -> str:
    """How many rows both have, and how many of these have the same words."""
    import pyarrow.parquet as pq

    from meadow.api import open_corpus

    rows = {row["id"]: row for row in pq.read_table(next(theirs.glob("*.parquet"))).to_pylist()}
    own = {
        row["source_id"].partition("/")[2]: row
        for batch in open_corpus(ours).iter_tables()
        for row in batch.to_pylist()
    }
    both = rows.keys() & own.keys()
    same = sum(
        all(plain(own[key][column]) == words(rows[key][column]) for column in ("input", "output"))
        for key in both
    )
    if len(both) < 0.95 * pairs or same < 0.98 * len(both):
        raise AssertionError(f"{len(both)} of {pairs} pairs in both, {same} with the same words")
    return (
        f"{pairs:,} pairs: {len(rows):,} rows of theirs and {len(own):,} of ours, "
        f"{len(both):,} in both, {same:,} with the same words"
    )


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Run, print a table, and return the ratios peer / ours.

    Args:
        size_mb: Size of the Posts.xml; 300 by default.
    """
    size = size_mb or SIZE_MB
    runs: dict[str, list[dict[str, float]]] = {
        name: []
        for name in (PEER_NAME, "ours", "ours, two processes", LIMIT_NAME, "wc -l", AT_ONCE)
    }
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        folder = Path(name)
        dump = folder / "Posts.xml"
        made = write_posts(dump, size)
        for turn in range(ROUNDS):
            peer, ours = folder / f"peer-{turn}.parquet", folder / f"ours-{turn}"
            runs["wc -l"].append(run_program(["wc", "-l", dump]))
            runs[PEER_NAME].append(run_program([python, "-c", PEER, dump, peer]))
            runs["ours"].append(run_program([python, "-c", OURS, "1", ours, dump]))
            limit = folder / "limit.parquet"
            runs[LIMIT_NAME].append(run_program([python, "-c", LIMIT, dump, limit]))
            two = folder / f"two-{turn}"
            runs["ours, two processes"].append(run_two(OURS, two, dump))
            builds = [[python, "-c", OURS, "1", folder / f"{n}-{turn}", dump] for n in "ab"]
            with ThreadPoolExecutor(2) as pool:
                both = list(pool.map(run_program, builds))
            runs[AT_ONCE].append({"wall_s": max(each["wall_s"] for each in both)})
        same = compare(folder / "peer-0.parquet", folder / "ours-0")
        same_bytes(folder / "ours-0", folder / "two-0")
        libraries, notes, missing, known = {}, [], {}, {}
        try:
            libraries, note = assembled(folder / "assembled", max(1, size // 5))
            notes, known = [note], versions(interpreter())
        except NotToBeHad as error:
            missing[ASSEMBLED] = str(error)
    middle = {who: medians(found) for who, found in runs.items()}
    title = (
        f"Posts.xml of {made.bytes / 1e6:,.0f} MB with {made.rows:,} posts and {made.pairs:,} "
        f"pairs; the same words in {same['rows']:,} rows, rejected {same['rejected'] or 'none'}; "
        f"medians of {ROUNDS}."
    )
    print(title)
    table_of(middle, made)
    peer_took, ours_took, two = (middle[who] for who in (PEER_NAME, "ours", "ours, two processes"))
    ratios = {
        "one process": peer_took["wall_s"] / ours_took["wall_s"],
        "one process, CPU": peer_took["cpu_s"] / ours_took["cpu_s"],
        "memory, one process": peer_took["peak_mb"] / ours_took["peak_mb"],
        "two processes": peer_took["wall_s"] / two["wall_s"],
        "two processes, CPU": peer_took["cpu_s"] / two["cpu_s"],
        OVER_ONE: ours_took["wall_s"] / two["wall_s"],
        AT_ONCE: 2 * ours_took["wall_s"] / middle[AT_ONCE]["wall_s"],
        PARENT: two["parent_s"] / two["cpu_s"],
        "memory, two processes": peer_took["peak_mb"] / two["peak_mb"],
        OF_THE_LIMIT: ours_took["cpu_s"] / middle[LIMIT_NAME]["cpu_s"],
        "peak MB, one process": ours_took["peak_mb"],
        "one process over wc -l": ours_took["wall_s"] / middle["wc -l"]["wall_s"],
    }
    print(*notes, *missing.values(), sep="\n")
    table(libraries, ["wall_s", "cpu_s", "peak_mb"])
    if libraries:
        theirs, own = libraries.values()
        ratios[ASSEMBLED] = theirs["cpu_s"] / own["cpu_s"]
    return {
        "bench": "posts",
        "ratios": {key: round(value, 3) for key, value in ratios.items()},
        "targets": TARGETS,
        "limits": LIMITS,
        "input": {"bytes": made.bytes, "rows": made.rows, "pairs": made.pairs},
        "input_text": title,
        "measured": middle | libraries,
        "versions": known,
        "not_run": missing,
        "notes": notes,
        **same,
    }


def table_of(middle: dict[str, dict[str, float]], made: Posts) -> None:
    """Print the medians, with the rates that they are."""
    for took in middle.values():
        took["mb_per_s"] = made.bytes / 1e6 / took["wall_s"]
        took["rows_per_s"] = made.rows / took["wall_s"]
        took["pairs_per_s"] = made.pairs / took["wall_s"]
    table(middle, ["wall_s", "cpu_s", "peak_mb", "mb_per_s", "rows_per_s", "pairs_per_s"])


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
