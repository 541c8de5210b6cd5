"""Why a target is missed: what was tried, and where the time goes; the page shows it."""

from __future__ import annotations

_POSTS = (
    "Where the time goes, at 300 MB: HTML to Markdown 22 % (more than half of it turbohtml's own), "
    "the cleaner without language 13 %, shards 12 %, the scan 12 %, records, authors and meta 9 "
    "%, language 8 %, pairs read again 7 %, the hash 4 %, imports 3 %; "
    "the plain script does none of language, personal data, authors, hashes and rejects."
)
_METADATA = (
    "Where the time goes, at 240 MB: converting 20 % (language 6, authors 4, records 4), Parquet "
    "13 %, reading 12 %, rows taken for shards 7 %, the cleaner's screen 7 %, keys 6 %, Arrow "
    "columns 5 %, parts 4 %, the hash 4 %, imports 3 %; what pandas does not do at all is about 40 "
    "%."
)
_START = (
    "Two builds at once are slower than one after the other already (the line without a target), "
    "which bounds what two processes can give. Beside that a process takes a third of a second to "
    "start, and the parent as much for its imports, the plan and the card (`spread` prints both); "
    "as rows became cheaper, these weigh more. With twenty times the input two give 1.98 "
    "(`spread`). Tried, beside what is in (the parent works too, workers spawned at once and "
    "given nothing before they are there, the language model mapped, shards in pairs of one size, "
    "the hash beside the parts): pieces of 4 and 5.5 MB (no difference beyond the noise), a fork "
    "server (it is waited for), forks (polars and pyarrow have threads), parts not flushed to the "
    "disk (a little faster, and a piece may be lost with the power). docs/adr/206, 213, 220, 221."
)
_AS_POSTS = "As for posts, two processes over one."
NOTES: dict[str, str] = {
    "posts: one process over the limit, CPU": "The limit takes text and hash of the pairs and "
    f"nothing else: no language, personal data, authors, cleaning or rejects. {_POSTS} What was "
    "tried: docs/adr/212, 219.",
    "posts: two processes": "One process by what two give: see the next line.",
    "posts: two processes over one": _START,
    "posts": f"{_POSTS} docs/adr/212, 219, 220, 221.",
    "cord19: two processes": "One process by what two give: see the lines before and behind.",
    "cord19: two processes over one": _AS_POSTS,
    "cord19": f"{_METADATA} Tried, beside what is in (plain blocks cut at once, one screen for all "
    "rules, English told from its function words): polars' own reader of a block that is proved "
    "plain (0.04 s), batches of 4,096 rows, rows of shards gathered by polars (300 MB more), zstd "
    "at level 1 (4 % larger). docs/adr/127, 218.",
    "scale": "Rows of shards are taken from mapped parts, and each slice touches all parts of the "
    "source, of which there are ten times as many. Tried: larger slices (400 MB more memory at 400 "
    "MB of input). docs/adr/205, 206.",
    "spread: metadata: 16 workers, 20 times the input": "What the parent does alone (the keys are "
    "sorted, the card is written) and the last pieces, for which some workers wait. docs/adr/213.",
    "spread": _AS_POSTS,
    "decontaminate": "Where the time goes: n-grams of all rows as 64-bit hashes, then the "
    "alignment of the rows that hold any; the set knows neither item, share nor answer.",
    "noop": "Where the time goes: imports, and the documents of the folder, which are rendered "
    "from its rows each time.",
}
"""By "<benchmark>: <what>", or by the benchmark alone for all that has no note of its own."""


def note(name: str, what: str) -> str:
    """What is known of a target that a benchmark misses."""
    return NOTES.get(f"{name}: {what}") or NOTES.get(name) or "Not looked into yet."
