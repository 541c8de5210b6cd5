"""Fetch the pages of a MediaWiki through its API: politely, and again only where it stopped.

One request at a time, with a pause between two, the contact in the User-Agent, `maxlag` set, and
Retry-After obeyed: what the API etiquette asks for. Each page is appended to the page store (one
JSON object a line, `pages.jsonl`) and put on disk before the next is asked for, so that a crawl
that was stopped at any moment continues there and fetches no page twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from meadow.atomic import disk_full, is_disk_full, locked, write_json
from meadow.errors import FileError, NetworkError, UsageError
from meadow.net.http import check_address, clean_address
from meadow.net.retry import RETRY_STATUS, RetryPolicy, TryAgain, broken, parse_retry_after
from meadow.source import Wanted

if TYPE_CHECKING:
    import httpx

STORE = "pages.jsonl"
STATE = "pages.state.json"
PAUSE = 1.0
"""Seconds between the end of one request and the beginning of the next."""
MAX_ANSWER = 32 * 1024**2
LIST_LIMIT = 50
_BUSY = frozenset({"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError"})


@dataclass(frozen=True, slots=True)
class Crawled:
    """What a crawl did.

    Args:
        fetched: Pages fetched now.
        failed: Of these, pages that the wiki would not render; they stand in the store as such.
        stored: Pages in the store.
        complete: Whether the list of pages has come to its end.
    """

    fetched: int
    failed: int
    stored: int
    complete: bool


def user_agent(contact: str) -> str:
    """Who asks and whom to write to.

    Raises:
        UsageError: No contact is set; none is ever invented.
    """
    if not contact.strip() or any(ord(character) < 32 for character in contact):
        raise UsageError(
            "the crawler needs a contact: a wiki must be able to reach who crawls it",
            fix='--contact you@example.org, or contact = "you@example.org" in meadow.toml',
        )
    return f"medical-meadow/{metadata.version('medical-meadow')} (contact: {contact.strip()})"


def crawl(
    wanted: Wanted,
    folder: Path,
    *,
    contact: str,
    pause: float = PAUSE,
    policy: RetryPolicy | None = None,
    progress: Callable[[int, str], None] = lambda stored, title: None,
) -> Crawled:
    """Fetch what `folder`'s store lacks, or continue to; one crawl at a time holds it.

    Between two requests `pause` seconds pass; `progress` is told the number of pages in the store
    and the title, page by page.

    Raises:
        UsageError: No contact; or the store is for another crawl.
        NetworkError: The wiki does not answer as a MediaWiki, or the tries are used up.
        FileError: The disk is full, or the store is damaged before its end.
    """
    import httpx

    agent = user_agent(contact)
    check_address(wanted.api, before=None)
    policy = policy or RetryPolicy()
    with (
        locked(folder),
        httpx.Client(
            timeout=httpx.Timeout(policy.silence),
            headers={"User-Agent": agent, "Accept-Encoding": "gzip"},
        ) as client,
    ):
        return _Crawl(wanted, folder, _Wiki(client, wanted.api, pause, policy), progress).run()


@dataclass(slots=True)
class _Wiki:
    """The API: one question at a time."""

    client: httpx.Client
    api: str
    pause: float
    policy: RetryPolicy
    asked: int = 0

    def ask(self, **parameters: str) -> dict[str, Any]:
        """The answer to one question, which may hold an `error` of the question's own making."""
        query = {"format": "json", "formatversion": "2", "maxlag": "5", **parameters}
        return self.policy.call(clean_address(self.api), lambda: self._try(query))

    def _try(self, query: dict[str, str]) -> dict[str, Any]:
        import httpx

        if self.asked:
            self.policy.sleep(self.pause)
        self.asked += 1
        body = bytearray()
        try:
            with self.client.stream("GET", self.api, params=query) as response:
                for part in response.iter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER:
                        raise self.fault(f"the wiki's answer is over {MAX_ANSWER:,} bytes")
        except httpx.TransportError as error:
            raise broken(error) from error
        status = response.status_code
        wait = parse_retry_after(response.headers.get("retry-after"))
        if status in RETRY_STATUS:
            raise TryAgain(f"the wiki answers {status}", retry_after=wait)
        if status != 200:
            fix = "open the address in a browser to see what it says"
            raise self.fault(f"the wiki answers {status}", fix)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self.fault(
                "the answer is no JSON: this is not the API of a MediaWiki",
                "the API's address ends in api.php; Special:Version of the wiki names it",
            ) from error
        if not isinstance(answer, dict):
            raise self.fault("the answer is not an object")
        code = answer.get("error", {}).get("code", "")
        if code in _BUSY:
            raise TryAgain(f"the wiki is busy ({code})", retry_after=wait)
        return answer

    def fault(self, what: str, fix: str = "") -> NetworkError:
        return NetworkError(what, where=clean_address(self.api), fix=fix)


@dataclass(slots=True)
class _Crawl:
    """One crawl: the store, the state of the list, and the wiki."""

    wanted: Wanted
    folder: Path
    wiki: _Wiki
    progress: Callable[[int, str], None]
    known: set[int] = field(default_factory=set)
    base: str = ""
    token: dict[str, str] = field(default_factory=dict)
    complete: bool = False
    fetched: int = 0
    failed: int = 0

    def run(self) -> Crawled:
        self.known = set(repair_store(self.folder / STORE))
        self._read_state()
        with (self.folder / STORE).open("ab") as store:
            while not self.complete and not self._full():
                if not self.base:
                    self.base = self._articles_at()
                members, following = self._next_members()
                for page_id, title in members:
                    if self._full():
                        return self._result()
                    if page_id in self.known:
                        continue
                    page = self._page(page_id, title)
                    self._append(store, page)
                    self.known.add(page_id)
                    self.fetched += 1
                    self.failed += "error" in page
                    self.progress(len(self.known), title)
                # only now: whoever stops in the middle of a batch asks for that batch again
                self.token, self.complete = following, not following
                self._write_state()
        return self._result()

    def _result(self) -> Crawled:
        return Crawled(self.fetched, self.failed, len(self.known), self.complete)

    def _full(self) -> bool:
        limit = self.wanted.max_pages
        return limit is not None and len(self.known) >= limit

    def _read_state(self) -> None:
        path = self.folder / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            wanted = {key: state[key] for key in self.wanted.identity()}
            self.base, self.token = str(state["base"]), dict(state["continue"])
            self.complete = bool(state["complete"])
        except FileNotFoundError:
            if self.known:
                raise self._other("a store without its state") from None
            self._write_state()
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"the state of the crawl cannot be read: {error}",
                where=str(path),
                fix="move the folder away and crawl again",
            ) from error
        if wanted != self.wanted.identity():
            raise self._other(f"a crawl of {wanted}")

    def _other(self, what: str) -> UsageError:
        return UsageError(
            f"the folder holds {what}", where=str(self.folder), fix="choose another folder"
        )

    def _write_state(self) -> None:
        state = {"base": self.base, "continue": self.token, "complete": self.complete}
        write_json(self.folder / STATE, self.wanted.identity() | state)

    def _articles_at(self) -> str:
        """The address of an article, with $1 for its title."""
        answer = self.wiki.ask(action="query", meta="siteinfo", siprop="general")
        try:
            general = answer["query"]["general"]
            server, path = str(general["server"]), str(general["articlepath"])
        except (KeyError, TypeError):
            raise self._unexpected(answer) from None
        scheme = self.wanted.api.partition(":")[0]
        return f"{scheme}:{server}{path}" if server.startswith("//") else f"{server}{path}"

    def _next_members(self) -> tuple[list[tuple[int, str]], dict[str, str]]:
        """The next pages of the list, and how to go on; nothing at its end."""
        limit = str(LIST_LIMIT)
        if self.wanted.category:
            name = "categorymembers"
            title = f"Category:{self.wanted.category.removeprefix('Category:')}"
            parameters = {"cmtitle": title, "cmnamespace": "0", "cmlimit": limit}
        else:
            name = "allpages"
            parameters = {"apnamespace": "0", "apfilterredir": "nonredirects", "aplimit": limit}
            if self.wanted.prefix:
                parameters["apprefix"] = self.wanted.prefix
        answer = self.wiki.ask(action="query", list=name, **parameters, **self.token)
        try:
            members = [(int(page["pageid"]), str(page["title"])) for page in answer["query"][name]]
            following = {str(key): str(value) for key, value in answer.get("continue", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._unexpected(answer) from None
        if following and following == self.token:
            raise self._unexpected({"continue": following})
        return members, following

    def _page(self, page_id: int, title: str) -> dict[str, Any]:
        without = dict.fromkeys(("disableeditsection", "disabletoc", "disablelimitreport"), "1")
        answer = self.wiki.ask(action="parse", pageid=str(page_id), prop="text|revid", **without)
        url = self.base.replace("$1", quote(title.replace(" ", "_"), safe=";@$!*(),/~:"))
        page = {"title": title, "page_id": page_id, "url": url}
        if "error" in answer:
            # deleted since the list was made, or not to be rendered: known, and not asked for again
            error = answer["error"]
            return page | {"error": f"{error.get('code')}: {error.get('info')}"[:500]}
        try:
            parsed = answer["parse"]
            text, revision = str(parsed["text"]), str(parsed.get("revid", ""))
        except (KeyError, TypeError, AttributeError):
            raise self._unexpected(answer) from None
        return page | {"revision": revision, "html": text}

    def _append(self, store: Any, page: dict[str, Any]) -> None:
        # on the disk before the next page is asked for: none is fetched twice
        try:
            store.write(json.dumps(page, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            store.flush()
            os.fsync(store.fileno())
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(self.folder / STORE) from error
            raise

    def _unexpected(self, answer: dict[str, Any]) -> NetworkError:
        info = json.dumps(answer.get("error", answer), ensure_ascii=False)[:200]
        return self.wiki.fault(
            f"the wiki's answer is not what its API documents: {info}",
            "check the address, the category or the prefix",
        )


def repair_store(path: Path) -> Iterator[int]:
    """The ids of the pages in a store; a torn last line, from a crawl that was killed, is cut off.

    Raises:
        FileError: A line before the last is broken: something else has written to the store.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        good = 0
        for number, line in enumerate(file, start=1):
            try:
                page_id = int(json.loads(line)["page_id"])
                if not line.endswith(b"\n"):
                    raise ValueError("no end of line")
            except (ValueError, KeyError, TypeError) as error:
                if file.read(1):
                    raise FileError(
                        f"the page store is damaged: {error}",
                        where=f"{path}:{number}",
                        fix="move it away and crawl again",
                    ) from error
                break
            good += len(line)
            yield page_id
        file.truncate(good)
