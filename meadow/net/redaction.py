"""Secrets leave no trace: what is printed or kept is stripped of them here.

By form (tokens of the Hub, keys of language models, the header that carries them, passwords in
addresses) and by value: whatever the environment holds under a name in `VARIABLES` is taken out in
every spelling that a server could send back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
from typing import Any
from urllib.parse import quote, quote_plus

VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
    "MEADOW_API_KEY",
    "OPENAI_API_KEY",
)
"""Environment variables that hold a secret which some command uses."""
SHORTEST = 8
"""A shorter value is no secret worth the name, and would take ordinary words out of messages."""
MARK = "[secret]"

# the Hub's tokens hold no underscore, so that hf_hub_download stays readable in a traceback
_SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\b(?:xet_|sk-)[\w-]{8,}|\b[Bb]earer\s+(?=\S*[\d_.=-])[^\s,;'\"]{8,}"
    r"|(?<=://)[^/@\s]+:[^/@\s]*@"
)
_USER = re.compile(r"(?<=://)[^/@\s'\"]+@")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_NAMED = re.compile(
    r"([?&;][\w.-]*(?:token|key|secret|password|passwd|signature|credential|auth)[\w.-]*=)"
    r"[^\s&;'\"<>)]+",
    re.I,
)


def redact(text: str) -> str:
    """The text without tokens, users, passwords and any query of an address."""
    text = _SECRET.sub(MARK, without_values(text))
    return _QUERY.sub(r"\1", _USER.sub(f"{MARK}@", text))


def hide_secrets(text: str) -> str:
    """The text without tokens, users and passwords; of a query only what is named as a secret."""
    text = _SECRET.sub(MARK, without_values(text))
    return _NAMED.sub(rf"\1{MARK}", _USER.sub(f"{MARK}@", text))


def without_values(text: str) -> str:
    """The text without the secrets of this process's environment; all else stays as it is."""
    for name in VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= SHORTEST:
            for form in {value, quote(value, safe=""), quote_plus(value)}:
                text = text.replace(form, MARK)
    return text


def guard_logs() -> None:
    """Strip every record that a library logs, in whatever handler it ends."""
    make = logging.getLogRecordFactory()
    if getattr(make, "guarded", False):
        return

    def guarded(*values: Any, **named: Any) -> logging.LogRecord:
        record = make(*values, **named)
        with contextlib.suppress(Exception):  # a record with wrong arguments is its author's fault
            record.msg, record.args = hide_secrets(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redact("".join(traceback.format_exception(record.exc_info[1])))
        return record

    guarded.guarded = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)
