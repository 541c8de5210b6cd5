"""Answers of a model, kept by the hash of the request: nothing is ever paid for twice.

SQLite with a write-ahead log and full synchronisation: an answer that `put` has returned from is on
disk, whatever happens next, and several runs can use one cache. No key, header or address is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.errors import FileError, UpstreamChangedError

VERSION = 1
BUSY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Args:
        text: The content of the message.
        finish_reason: "stop", "length" and so on.
        model: As the server named itself.
        prompt_tokens: As the server counted; an estimate where it does not.
        completion_tokens: Likewise.
    """

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int
    completion_tokens: int


def request_key(request: Mapping[str, Any]) -> str:
    """The SHA-256 of a request in canonical form."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """Request hash -> answer, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, "
                "text TEXT NOT NULL, finish_reason TEXT NOT NULL, model TEXT NOT NULL, "
                "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID"
            )
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise UpstreamChangedError(
                    f"the cache has version {version}, newer than {VERSION}",
                    where=str(path),
                    fix="upgrade medical-meadow, or give another --cache",
                )
            self._database.execute(f"PRAGMA user_version = {VERSION}")

    def get(self, key: str) -> Answer | None:
        """The stored answer, if there is one."""
        with self._errors():
            row = self._database.execute(
                "SELECT text, finish_reason, model, prompt_tokens, completion_tokens "
                "FROM answers WHERE key = ?",
                (key,),
            ).fetchone()
        return Answer(*row) if row else None

    def put(self, key: str, request: Mapping[str, Any], answer: Answer) -> Answer:
        """Store an answer; of two runs the first one's stands. What stands is given back."""
        with self._errors():
            self._database.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    json.dumps(request, ensure_ascii=False, sort_keys=True),
                    answer.text,
                    answer.finish_reason,
                    answer.model,
                    answer.prompt_tokens,
                    answer.completion_tokens,
                ),
            )
        return self.get(key) or answer

    def keys(self) -> set[str]:
        """Every request that has an answer."""
        with self._errors():
            return {key for (key,) in self._database.execute("SELECT key FROM answers")}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # SQLite tells a full disk from other faults only where a write of its own was short
            cause = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else 0
            doubt = cause in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
            raise FileError(
                f"the cache cannot be used: {error}"
                + (" (is the disk full, or out of order?)" if doubt else ""),
                where=str(self.path),
                fix="make room, or give another --cache; a damaged one has to be moved away",
            ) from error
