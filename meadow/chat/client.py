"""One model behind an OpenAI-compatible endpoint: asked within limits, and never twice.

An answer is kept by the hash of its request in one SQLite file, so that nothing is ever paid for
twice: `Client.ask` looks there first, and an answer that it has returned is on disk, whatever
happens next. Several runs can share the file; no key, header or address is in it.

The model is on this machine first: an address elsewhere has to be allowed. The key comes from the
environment, goes into the one header that needs it, and is taken out of everything that is kept or
printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import os
import sqlite3
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from meadow.atomic import disk_full, is_disk_full
from meadow.errors import FileError, NetworkError, RefusedError, UpstreamChangedError, UsageError
from meadow.net.http import clean_address, is_loopback, plain_address, split_address
from meadow.net.retry import RETRY_STATUS, RetryPolicy, TryAgain, parse_retry_after

VERSION = 1
"""Of the cache's tables."""
BUSY_SECONDS = 60.0
KEY_VARIABLES = ("MEADOW_API_KEY", "OPENAI_API_KEY")
DEFAULT_URL = "http://127.0.0.1:8000/v1"
PRICES = Path(__file__).parent / "prices.toml"
CHARACTERS_PER_TOKEN = 3.0
"""Low on purpose: an estimate that is too high stops too early, not too late."""
FRAME_TOKENS = 16
ATTEMPTS = 2
"""Times that a model is asked where its answer is of no use."""

Item = TypeVar("Item")
Value = TypeVar("Value")


class LimitReached(Exception):
    """No further request may be sent: `--max-requests` or `--budget-usd`."""


class BadAnswerError(Exception):
    """The server refuses this request and will again: too long, or not to its liking."""


class FaultError(ValueError):
    """An answer that is of no use; `fault` says why in one word, and never a text."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said."""

    text: str  # the content of the message
    finish_reason: str  # "stop", "length" and so on
    model: str  # as the server named itself
    prompt_tokens: int  # as the server counted; an estimate where it does not
    completion_tokens: int  # likewise


@dataclass(frozen=True, slots=True)
class Try:
    """One request and what became of it."""

    key: str
    answer: Answer | None = None  # what was said; None where the server refused the request
    fault: str = ""  # why the answer is of no use; "" where it is of use


@dataclass(frozen=True, slots=True)
class Asked(Generic[Value]):
    """What became of a question."""

    # what was read out of the last try's answer; None where nothing could be
    value: Value | None = None
    # else why not: a `FaultError`'s word, "max_requests", "budget", "refused_by_server"
    fault: str = ""
    # every request, in their order; the last one is the one that counted
    tries: tuple[Try, ...] = ()

    @property
    def key(self) -> str:
        """The hash of the request whose answer counted; "" where nothing was asked."""
        return self.tries[-1].key if self.tries else ""

    @property
    def answer(self) -> Answer | None:
        """The answer that counted."""
        return self.tries[-1].answer if self.tries else None


def request_key(request: Mapping[str, Any]) -> str:
    """The SHA-256 of a request in canonical form."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """Request hash -> answer, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._use_wal()
            # what is committed is on disk: a power cut costs no answer either
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

    def _use_wal(self) -> None:
        """Write-ahead logging. The change of mode waits for nobody: two runs at once ask again."""
        for left in range(50, -1, -1):
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not left or "locked" not in str(error):
                    raise
                time.sleep(0.05)

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
        text = json.dumps(request, ensure_ascii=False, sort_keys=True)
        with self._errors():
            self._database.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, text, *astuple(answer)),
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
        except (sqlite3.Error, OSError) as error:
            if is_disk_full(error):
                raise disk_full(self.path) from error
            # SQLite tells a full disk from other faults only where a write of its own was short
            cause = getattr(error, "sqlite_errorcode", 0) & 0xFF
            doubt = cause in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
            raise FileError(
                f"the cache cannot be used: {error}"
                + (" (is the disk full, or out of order?)" if doubt else ""),
                where=str(self.path),
                fix="make room, or give another --cache; a damaged one has to be moved away",
            ) from error


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is and how it is asked."""

    base_url: str  # the address that ends in /v1
    model: str  # as the server names it
    api_key: str = field(default="", repr=False)  # never printed
    timeout: float = 120.0  # seconds for one answer
    concurrency: int = 4  # requests at a time
    policy: RetryPolicy = field(default_factory=RetryPolicy)  # tries and waits

    @property
    def is_local(self) -> bool:
        """Whether texts stay on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)

    @property
    def address(self) -> str:
        """The address without credentials."""
        return clean_address(self.base_url)


def make_endpoint(base_url: str, model: str, *, allow_remote: bool, **more: Any) -> Endpoint:
    """An endpoint with the key of the environment.

    Raises:
        UsageError: The address is none, or holds a password.
        RefusedError: The address is elsewhere and that was not allowed.
    """
    check_remote(plain_address(base_url, "--base-url"), allow_remote=allow_remote)
    return Endpoint(base_url, model, environment_key(), **more)


def environment_key() -> str:
    """The key for a server, where the environment has one."""
    return next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")


def check_remote(base_url: str, *, allow_remote: bool) -> None:
    """The one rule for whoever sends texts to a server: elsewhere only when allowed, over https.

    Raises:
        UsageError: It is no address.
        RefusedError: The address is elsewhere, and that was not allowed or is not https.
    """
    parts = split_address(base_url)
    if is_loopback(parts.hostname):
        return
    if not allow_remote:
        raise RefusedError(
            "the texts would leave this machine",
            where=clean_address(base_url),
            fix="--allow-remote, if their licences and your rules permit it",
        )
    if parts.scheme != "https":
        raise RefusedError(
            "texts leave this machine over https only",
            where=clean_address(base_url),
            fix="an https address, or a tunnel: ssh -L 8000:localhost:8000 HOST",
        )


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a token."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return prompt_tokens * self.prompt + completion_tokens * self.completion


def read_price(model: str, path: Path | None = None) -> Price | None:
    """The price of a model in a table, ours by default; None where it does not list it.

    Raises:
        UsageError: The table cannot be read.
    """
    path = path or PRICES
    try:
        entry = tomllib.loads(path.read_text(encoding="utf-8"))["models"].get(model)
        if entry is None:
            return None
        return Price(float(entry["input"]) / 1e6, float(entry["output"]) / 1e6)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"the price table cannot be read: {error}", where=str(path)) from error


def json_in(text: str) -> Any:
    """The JSON value that an answer is, bare or as one block of code.

    Raises:
        FaultError: It is none ("not_json").
    """
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        raise FaultError("not_json") from None


def estimate(requests: Iterable[Mapping[str, Any]], cache: Cache) -> dict[str, int]:
    """What a run that meets no fault would send, before it sends anything."""
    known, planned = cache.keys(), Counter[str]()
    for request in requests:
        planned["items"] += 1
        if request_key(request) in known:
            planned["cached"] += 1
            continue
        prompt_tokens, completion_tokens = estimate_tokens(request)
        planned["requests"] += 1
        planned["characters"] += sum(len(m["content"]) for m in request["messages"])
        planned["prompt_tokens"] += prompt_tokens
        planned["completion_tokens"] += completion_tokens
    names = ("items", "cached", "requests", "characters", "prompt_tokens", "completion_tokens")
    return {name: planned[name] for name in names}


def estimate_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """Prompt and completion tokens at most, from the number of characters."""
    characters = sum(len(message["content"]) for message in request["messages"])
    return math.ceil(characters / CHARACTERS_PER_TOKEN) + FRAME_TOKENS, int(request["max_tokens"])


@dataclass(slots=True)
class Meter:
    """What has been sent and spent, and when to stop."""

    price: Price | None = None  # None: nothing is charged, or nobody knows
    max_requests: int | None = None  # the most requests that may be sent; None for any number
    budget: float | None = None  # US dollars that may be spent; None for any
    sent: int = 0
    spent: float = 0.0
    reserved: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __str__(self) -> str:
        """What was sent so far, and its price where one is known."""
        money = f", {self.spent:.4f} USD" if self.price else ""
        return (
            f"{self.sent:,} requests, {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
            f"{money}"
        )

    def cost(self, planned: Mapping[str, int]) -> float | None:
        """US dollars that an `estimate` comes to; None where no price is known."""
        if self.price is None:
            return None
        return self.price.of(planned["prompt_tokens"], planned["completion_tokens"])

    def reserve(self, request: Mapping[str, Any]) -> float:
        """Set aside what a request can cost at most, or say that it is too much.

        Raises:
            LimitReached: It would pass a limit.
        """
        if self.max_requests is not None and self.sent >= self.max_requests:
            raise LimitReached("max_requests")
        cost = self.price.of(*estimate_tokens(request)) if self.price is not None else 0.0
        if self.budget is not None and self.spent + self.reserved + cost > self.budget:
            raise LimitReached("budget")
        self.sent += 1
        self.reserved += cost
        return cost

    def settle(self, reserved: float, answer: Answer | None, *, lost: bool = False) -> None:
        """Replace what was set aside by what was charged; a lost answer counts in full."""
        self.reserved -= reserved
        if answer is None:
            self.spent += reserved if lost else 0.0
            return
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        if self.price is not None:
            self.spent += self.price.of(answer.prompt_tokens, answer.completion_tokens)


def make_meter(
    endpoint: Endpoint,
    *,
    max_requests: int | None = None,
    budget_usd: float | None = None,
    prices: Path | None = None,
) -> Meter:
    """The meter of a run, with the model's price where one is known.

    Raises:
        UsageError: A budget for a model whose price nobody knows.
    """
    price = read_price(endpoint.model, prices)
    if budget_usd is not None and price is None and not endpoint.is_local:
        raise UsageError(
            f"no price is known for {endpoint.model}: it cannot be held to a budget",
            fix="--prices FILE with its price, or --max-requests",
        )
    return Meter(price, max_requests, budget_usd)


def announced(what: str, endpoint: Endpoint, planned: Mapping[str, int], meter: Meter) -> str:
    """One line before anything is sent: how much to ask whom, and what that costs."""
    cost = meter.cost(planned)
    money = f"at most {cost:.2f} USD" if cost is not None else "no price known"
    return (
        "{what}, {cached:,} answered already, {requests:,} to ask {model} at {address} (about "
        "{prompt_tokens:,} + {completion_tokens:,} tokens, {money})"
    ).format(what=what, model=endpoint.model, address=endpoint.address, money=money, **planned)


class Client:
    """Asks one endpoint what its cache does not hold; use as an asynchronous context."""

    def __init__(self, endpoint: Endpoint, cache: Cache, meter: Meter) -> None:
        self.endpoint = endpoint
        self.cache = cache
        self.meter = meter
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._http = httpx.AsyncClient(
            base_url=endpoint.base_url,
            # a server that wants no key takes any, and some want the header all the same
            headers={
                "Authorization": f"Bearer {endpoint.api_key or 'none'}",
                "Content-Type": "application/json",
            },
            timeout=endpoint.timeout,
            limits=httpx.Limits(max_connections=endpoint.concurrency),
            # Texts go where the user said and nowhere else: no redirect is followed, and what is
            # for this machine passes no proxy.
            follow_redirects=False,
            trust_env=not endpoint.is_local,
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, key: str, request: Mapping[str, Any]) -> Answer:
        """The answer to the request of that key, sent once however many items it stands for.

        Raises:
            LimitReached: No further request may be sent.
            BadAnswerError: The server will not answer this request.
            NetworkError: The server is gone, or refuses everybody.
        """
        async with self._asking[key]:
            if (known := self.cache.get(key)) is not None:
                return known
            answer = await self.endpoint.policy.call_async(
                self.endpoint.address,
                lambda: self._try(request),
                fix="run the same command again later; every answer so far is kept",
            )
            return self.cache.put(key, request, answer)

    async def ask_for(
        self,
        make: Callable[[int], Mapping[str, Any]],  # the request of an attempt, counted from 0
        # what is wanted, out of an answer and its request; raises `FaultError` where there is
        # nothing in it
        read: Callable[[Answer, Mapping[str, Any]], Value],
        attempts: int,  # the most requests
    ) -> Asked[Value]:
        """Ask until an answer is of use, is one that was given before, or no attempt is left."""
        tries: tuple[Try, ...] = ()
        for attempt in range(attempts):
            request = make(attempt)
            key = request_key(request)
            try:
                answer = await self.ask(key, request)
                return Asked(read(answer, request), "", (*tries, Try(key, answer)))
            except LimitReached as limit:
                # a further try that may not be sent leaves the fault of the one before
                return Asked(None, tries[-1].fault if tries else str(limit), tries)
            except BadAnswerError:
                tries = (*tries, Try(key, None, "refused_by_server"))
                break
            except FaultError as error:
                said_before = any(one.answer and one.answer.text == answer.text for one in tries)
                tries = (*tries, Try(key, answer, str(error.fault)))
                if answer.text and said_before:
                    break  # the server does not sample: it would say so for ever
        return Asked(None, tries[-1].fault, tries)

    async def _try(self, request: Mapping[str, Any]) -> Answer:
        """One request.

        Raises:
            TryAgain: There is no answer, and there may be one later.
        """
        reserved = self.meter.reserve(request)
        answer: Answer | None = None
        lost = True  # until the server says that it did not answer, it may charge for it
        try:
            # ASCII: half a surrogate pair in a text must not fail here, once it is reserved
            body = json.dumps(request).encode("ascii")
            response = await self._http.post("chat/completions", content=body)
            lost = response.is_success
            if not lost:
                raise self._refusal(response)
            answer = self._read(request, response.text)
        except httpx.TimeoutException:
            raise TryAgain(f"no answer within {self.endpoint.timeout:g} seconds") from None
        except httpx.RequestError as error:
            raise TryAgain(f"the connection failed ({type(error).__name__})") from None
        finally:
            self.meter.settle(reserved, answer, lost=lost)
        if answer is None:
            raise TryAgain("the answer is no chat completion")
        return answer

    def _refusal(self, response: httpx.Response) -> Exception:
        """What an answer with this status means for the request."""
        status = response.status_code
        if status in RETRY_STATUS or status >= 500:
            wait = parse_retry_after(response.headers.get("retry-after"))
            return TryAgain(f"the server answers {status}", retry_after=wait)
        said = f"the server answers {status}: {' '.join(self._clean(response.text).split())[:300]}"
        if status in {400, 413, 422}:
            return BadAnswerError(said)
        fixes = {401: f"set {KEY_VARIABLES[0]} to a valid key", 403: "the key does not permit it",
                 404: "check --base-url (it ends in /v1) and --model"}  # fmt: skip
        return NetworkError(
            said,
            where=self.endpoint.address,
            fix=fixes.get(status, "see what the server's log says"),
        )

    def _read(self, request: Mapping[str, Any], body: str) -> Answer | None:
        """The answer in a body; None where it is no chat completion."""
        try:
            # all of it: a server can repeat the key in any field, and the cache keeps several
            document = json.loads(self._clean(body))
            choice = document["choices"][0]
            text = choice["message"]["content"]
            usage = document.get("usage") or {}
            prompt, completion = estimate_tokens(request)
            return Answer(
                text=self._clean(text if isinstance(text, str) else "").replace("\x00", ""),
                finish_reason=self._clean(str(choice.get("finish_reason") or "stop")),
                model=self._clean(str(document.get("model") or request["model"])),
                prompt_tokens=int(usage.get("prompt_tokens") or prompt),
                completion_tokens=int(usage.get("completion_tokens") or completion),
            )
        except (
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ):
            return None

    def _clean(self, text: str) -> str:
        """The text without the key, should a server repeat it, and fit to be written as UTF-8."""
        key = self.endpoint.api_key
        cleaned = text.replace(key, "[key]") if key else text
        return cleaned.encode("utf-8", "replace").decode("utf-8")


def ask_all(
    items: Sequence[Item],
    # the request for an item at an attempt, counted from 0
    make: Callable[[Item, int], Mapping[str, Any]],
    # what is wanted, out of an answer; raises `FaultError` where it is not in it
    read: Callable[[Item, Answer, Mapping[str, Any]], Value],
    endpoint: Endpoint,
    cache: Cache,
    meter: Meter,  # counts, and stops
    *,
    attempts: int = ATTEMPTS,  # times that an item is asked about, until an answer is of use
    progress: Callable[[int], None] = lambda done: None,  # told how many are done
) -> list[Asked[Value]]:
    """Ask a model about every item, as many at a time as its endpoint takes; in their order.

    Raises:
        NetworkError: The server is gone; every answer so far is in the cache.
    """
    client = Client(endpoint, cache, meter)
    found: dict[int, Asked[Value]] = {}
    numbered = iter(enumerate(items))

    async def work() -> None:
        for number, item in numbered:  # shared: each worker takes the next one
            found[number] = await client.ask_for(partial(make, item), partial(read, item), attempts)
            progress(len(found))

    async def work_off() -> None:
        async with client:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(endpoint.concurrency):
                        workers.create_task(work())
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None  # one server: what stops one stops all

    asyncio.run(work_off())
    return [found[number] for number in range(len(items))]
