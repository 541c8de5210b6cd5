"""Why a target is missed: what was tried, and where the time goes; the page shows it."""

from __future__ import annotations

_POSTS = (
    "Where the time goes, at 120 MB: HTML to Markdown 25 % (half of it turbohtml's own), language "
    "18 % (10 % the model's start), imports 11 %, the scan 10 %, records, authors and meta 9 %, "
    "pairs read again 7 %, Arrow, keys and parts 6 %; the plain script does none of language, "
    "personal data, authors, hashes and rejects."
)
_METADATA = (
    "Where the time goes, of 6.2 CPU s for 120 MB: language 17 % (10 % the model's start), the csv "
    "module and its rows 17 %, the cleaner's screen 8 %, keys 7 %, shards 7 %, imports 6 %; pandas "
    "parses in C and does none of language, personal data, hashes, authors and rejects."
)
_TRIED = (
    "Tried, beside what is in (one search for all rules of personal data, English told from the "
    "first 400 characters, columns by one zip, sources imported when used):"
)
_START = (
    "Of the 6.5 s that two take for 300 MB of posts (times noted at the tasks), 0.6 pass until the "
    "workers have imported what they need, 0.4 in each of them for the language model, 0.65 for "
    "the last two shards, of which one is twice the other, and 0.4 for the card; what lies between "
    "is done twice as fast as by one, so that with twenty times the input two come nearer "
    "(`spread`). Tried: hashing in a worker, beside the first pieces, counts of cards by polars, "
    "without whole shards in memory (all in); fork servers that import for all (threads of polars "
    "and pyarrow must not be forked), the model unpacked once into a cache of the user's (0.3 s "
    "less a process, for a layout that is the library's own), pieces of 4 MB (1.5 % more CPU). "
    "docs/adr/206, 213."
)
NOTES: dict[str, str] = {
    "posts: one process, CPU": f"{_POSTS} {_TRIED} native links and marks where all are ordinary "
    "(0.02 s), English told over a batch (0.05 s), zstd at level 1 (0.1 s, 4 % larger). "
    "docs/adr/127, 212.",
    "posts: one process over the limit, CPU": "The limit takes text and hash of the pairs and "
    f"nothing else: no language, personal data, authors, cleaning or rejects. {_POSTS}",
    "posts: two processes": f"Wall time is that of one process by what two give. {_START}",
    "posts: two processes over one": f"Measured on a machine of two cores. {_START}",
    "posts: two processes: the parent's share of CPU": "The parent imports, plans, joins ids and "
    "scores, sorts keys and writes the card: 0.37 s are imports, 0.1 grow with the input "
    "(`spread`, docs/adr/206). As pieces became cheaper, its share grew.",
    "posts: the usual libraries, CPU": "At a fifth of the dump the start of ours (0.75 s, and the "
    f"language model) counts five times as much. {_POSTS}",
    "cord19: memory, one process": "Imports and the language model take 220 MB before the first "
    "row; the peer's table grows with the file, ours only by its keys (`scale`).",
    "cord19: two processes": f"{_METADATA} {_START}",
    "cord19: two processes over one": f"Measured on a machine of two cores. {_START}",
    "cord19": f"{_METADATA} {_TRIED} sorted rows gathered in polars (no cheaper), shards from "
    "chunked columns (other bytes), the language model cached (0.3 s). docs/adr/127.",
    "scale": "Rows of shards are taken from mapped parts, and each slice touches all parts of the "
    "source, of which there are ten times as many. Tried: larger slices (400 MB more memory at 400 "
    "MB of input). docs/adr/205, 206.",
    "spread: metadata: 16 workers, 20 times the input": "What the parent does alone (the keys are "
    "sorted, the card is written) and the last pieces, for which some workers wait. docs/adr/213.",
    "spread": _START,
    "decontaminate": "Where the time goes: n-grams of all rows as 64-bit hashes, then the "
    "alignment of the rows that hold any; the set knows neither item, share nor answer.",
    "noop": "Where the time goes, of 1.4 CPU s: imports 0.5 s; the documents of the folder, "
    "rendered from its rows each time, 0.6 s, of which 0.4 s are the language model.",
}
"""By "<benchmark>: <what>", or by the benchmark alone for all that has no note of its own."""


def note(name: str, what: str) -> str:
    """What is known of a target that a benchmark misses."""
    return NOTES.get(f"{name}: {what}") or NOTES.get(name) or "Not looked into yet."
