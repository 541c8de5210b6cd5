"""Under which names a row can be asked for.

Its ids, its address, the addresses of its authors, the ids of the messages that a conversation
consists of, and the DOI and numbers of its paper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_PUBMED = re.compile(
    r"(?:pmid:\s*|https?://(?:www\.)?(?:pubmed\.ncbi\.nlm\.nih\.gov|ncbi\.nlm\.nih\.gov/pubmed)/)"
    r"(\d+)/?",
    re.IGNORECASE,
)
_CENTRAL = re.compile(
    r"(?:pmcid:\s*|https?://(?:www\.)?(?:pmc\.ncbi|ncbi)\.nlm\.nih\.gov/(?:pmc/)?articles/)?"
    r"(PMC\d+)/?",
    re.IGNORECASE,
)
_FACTS = {
    **{"doi": "", "pubmed_id": "pmid:", "pmid": "pmid:", "pmcid": ""},
    **{"reply_id": "", "message_ids": ""},
}
"""Key of a row's `meta` (a value, or several) -> what stands before it in a name."""


def normal_name(text: str) -> str:
    """A name in one spelling: `doi:10.1/x`, `pmid:1`, `pmcid:PMC1`; any other as it is.

    >>> normal_name("https://doi.org/10.5555/Sample.000"), normal_name("PMID: 12")
    ('doi:10.5555/sample.000', 'pmid:12')
    """
    text = text.strip()
    if match := _DOI.fullmatch(text):
        return f"doi:{match[1].rstrip('.,;').lower()}"
    if match := _PUBMED.fullmatch(text):
        return f"pmid:{int(match[1])}"
    if match := _CENTRAL.fullmatch(text):
        return f"pmcid:{match[1].upper()}"
    return text


def names_of(
    record_id: str,
    source: str,
    source_id: str | None,
    url: str | None,
    meta: str,
    authors: Iterable[str | None] = (),
) -> set[str]:
    """Every name of a row, as `normal_name` spells them; `authors` are their addresses."""
    found = {record_id, *filter(None, authors)}
    if source_id is not None:
        found |= {source_id, normal_name(source_id), f"{source}:{source_id}"}
    if url is not None:
        found |= {url, normal_name(url)}
    if any(f'"{key}":' in meta for key in _FACTS):
        try:
            facts = json.loads(meta)
            for key in _FACTS:
                value = facts.get(key) or ()
                for one in value if isinstance(value, list | tuple) else (value,):
                    found.add(normal_name(f"{_FACTS[key]}{one}"))
        except (ValueError, AttributeError, RecursionError):
            pass  # a corpus can come from anybody
    return found
