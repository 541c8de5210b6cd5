"""The Hub client as this house uses it: retries, errors that a user can act on, and no secrets.

huggingface_hub reads HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_DISABLE_XET from the environment
when it is imported; nothing here sets or prints them. It retries uploads of content by itself, but
neither a commit nor a failed GET of a file: those are retried here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import unquote

from meadow.errors import CheckError, MeadowError, NetworkError, RefusedError, UsageError
from meadow.net.http import clean_address
from meadow.net.redaction import redact
from meadow.net.retry import RETRY_STATUS, RetryPolicy, TryAgain, causes, parse_retry_after

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Given = ParamSpec("Given")
Result = TypeVar("Result")
ROOM: ContextVar[Callable[[], AbstractContextManager[None]] | None] = ContextVar(
    "room", default=None
)
"""Makes room for bars on the terminal of a command; None: there is no terminal."""
_drawn: ContextVar[bool] = ContextVar("drawn", default=False)


HEAD_MOVED = "somebody else has committed to the repository meanwhile; nothing was changed"


class HeadMovedError(MeadowError):
    """Somebody else has committed to the branch since it was read."""


@dataclass(frozen=True, slots=True)
class HubClient:
    """huggingface_hub's `HfApi` under the one policy of retries.

    Args:
        policy: How often a failed request is sent again.
    """

    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(tries=5, longest_wait=20.0))

    @property
    def api(self) -> HfApi:
        """The client; its token comes from the environment or the login store alone."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not _drawn.get():
            disable_progress_bars()
        return HfApi(library_name="medical-meadow")

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Around a transfer: let the library draw its bars where a command has made room."""
        from huggingface_hub.utils.tqdm import enable_progress_bars

        if (room := ROOM.get()) is None:
            yield
            return
        with room():
            drawn = _drawn.set(True)
            enable_progress_bars()
            try:
                yield
            finally:
                _drawn.reset(drawn)

    @property
    def endpoint(self) -> str:
        """Which Hub is meant."""
        from huggingface_hub import constants

        return clean_address(constants.ENDPOINT)

    def call(
        self,
        where: str,
        action: Callable[Given, Result],
        /,
        *values: Given.args,
        **named: Given.kwargs,
    ) -> Result:
        """Run `action` with what is given, again after a fault that may pass.

        Args:
            where: What the request is about, for messages.
            action: One request, or several that may be repeated.
            *values: For it.
            **named: For it, too.
        """

        def attempt() -> Result:
            try:
                return action(*values, **named)
            except MeadowError:
                raise
            except Exception as error:
                passing = _may_pass(error)
                if passing is None:
                    raise explain(error, where) from error
                raise TryAgain(redact(passing), retry_after=_asked_wait(error)) from error

        return self.policy.call(f"{where} ({self.endpoint})", attempt)

    def call_once(
        self, where: str, action: Callable[[], Result], settled: Callable[[], bool]
    ) -> Result | None:
        """`call` for what must not be done twice.

        `settled` is asked before another try whether the last one, whose answer was lost, succeeded
        after all; the result is then None.
        """
        tried = False

        def attempt() -> Result | None:
            nonlocal tried
            if tried and settled():
                return None
            tried = True
            return action()

        return self.call(where, attempt)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def network_cause(error: BaseException) -> Exception | None:
    """The failed request behind an error of a library on top of the client, or None.

    A file that is not there (404) is no failure: such libraries look for many files that need not
    exist.
    """
    for link in causes(error):
        if isinstance(link, Exception) and (
            _may_pass(link) is not None or _status(link) not in {None, 404}
        ):
            return link
    return None


def _asked_wait(error: BaseException) -> float | None:
    response = getattr(error, "response", None)
    return parse_retry_after(response.headers.get("retry-after")) if response is not None else None


def _may_pass(error: BaseException) -> str | None:
    """What happened, where another try may help; None where it cannot."""
    import httpx2
    from huggingface_hub.errors import (
        EntryNotFoundError,
        FileMetadataError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    if _without_xet(error) or isinstance(error, OfflineModeIsEnabled):
        return None
    status = _status(error)
    if status is not None:
        return f"the Hub answers {status}" if status in RETRY_STATUS else None
    if isinstance(error, LocalEntryNotFoundError):
        # Raised for any failed HEAD; the reason is its cause.
        cause = error.__cause__
        return _may_pass(cause) if cause is not None else "the Hub cannot be reached"
    if isinstance(error, EntryNotFoundError):
        return None
    if isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError):
        return f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, FileMetadataError):
        return "the Hub's answer misses its headers"
    if isinstance(error, RuntimeError) and type(error).__module__ == "builtins":
        # hf_xet, which is written in Rust, raises plain RuntimeErrors.
        return f"the transfer failed: {error}"
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return "a file came in another size than stated"
    return None


def _without_xet(error: BaseException) -> bool:
    """Whether the client wanted Xet from a Hub that has none."""
    return "xet-write-token" in str(error) and _status(error) in {None, 400, 404, 405, 501}


def explain(error: BaseException, where: str) -> MeadowError:
    """An expected fault for what huggingface_hub raises."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    text = redact(" ".join(str(error).split()))
    kind = "Space" if where.startswith("spaces/") else "data set"
    status = _status(error)
    refused_card = isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error)
    # the first that applies: what is told apart by its class has a status of its own, too
    faults: tuple[tuple[bool, type[MeadowError], str, str], ...] = (
        (
            _without_xet(error), NetworkError, "this Hub has no Xet storage",
            "set HF_HUB_DISABLE_XET=1 and run the same command again",
        ),
        (
            isinstance(error, OfflineModeIsEnabled), NetworkError,
            "HF_HUB_OFFLINE is set: nothing is asked of the Hub", "unset it",
        ),
        (
            isinstance(error, GatedRepoError), RefusedError,
            "access to this data set has to be granted first",
            "ask for it on the data set's page, then log in with `hf auth login`",
        ),
        (
            isinstance(error, RepositoryNotFoundError), NetworkError,
            f"no such {kind} on the Hub, or no right to see it",
            "look at the name; a private one needs `hf auth login`",
        ),
        (
            isinstance(error, RevisionNotFoundError), NetworkError,
            "the data set has no such revision", "name a tag, branch or commit",
        ),
        (
            isinstance(error, EntryNotFoundError), NetworkError,
            "the data set has no such file at this revision",
            "look at the files on the data set's page",
        ),
        (
            status == 412, HeadMovedError, HEAD_MOVED,
            "look at that commit, then publish again",
        ),
        (
            status == 401, NetworkError, "the Hub knows no valid token here",
            "log in with `hf auth login`",
        ),
        (
            status == 403, NetworkError, f"the token has no right to do this: {text[:300]}",
            "use a token with write access to this organisation, or publish with --create-pr",
        ),
        (
            refused_card, CheckError, f"the Hub refuses the card: {text[:500]}",
            "render the card again with `meadow card`",
        ),
        (
            status is not None, NetworkError, f"the Hub answers {status}: {text[:300]}",
            "look at the message; the Hub may have changed",
        ),
    )  # fmt: skip
    for applies, fault, what, fix in faults:
        if applies:
            return fault(what, where=where, fix=fix)
    raise error


SCHEME = "hf://"
_PREFIX = "hf://datasets/"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A data set repository at a revision.

    Args:
        repository: `OWNER/NAME`.
        revision: A commit, a tag or a branch.
        path: One file of it; "" for the whole.
    """

    repository: str
    revision: str = "main"
    path: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" + (f"/{self.path}" if self.path else "")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return _COMMIT.fullmatch(self.revision) is not None


def parse_reference(text: str) -> Reference:
    """`OWNER/NAME[@REVISION]`, also with `hf://` or `hf://datasets/` before it."""
    name = text.removeprefix(_PREFIX).removeprefix(SCHEME)
    repository, at, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _revision(revision)):
        raise UsageError(f"{text!r} is not a data set on the Hub", fix="write it as OWNER/NAME@TAG")
    return Reference(repository, unquote(revision) if at else "main")


def parse_file_address(address: str) -> Reference:
    """`hf://datasets/OWNER/NAME@REVISION/PATH`: one file at a stated revision."""
    # a revision with a slash is written with %2F, so the first slash behind the @ ends it
    name, at, rest = address.partition("@")
    revision, _, path = rest.partition("/")
    if not (address.startswith(_PREFIX) and at and path) or ".." in path.split("/"):
        raise UsageError(
            f"{address!r} does not name a file of a data set on the Hub",
            fix="write it as hf://datasets/OWNER/NAME@REVISION/PATH",
        )
    return replace(parse_reference(f"{name}@{revision}"), path=path)


def _revision(text: str) -> bool:
    """Whether git could have a reference of this name (its main rules)."""
    name = unquote(text)
    return bool(name) and re.search(r"[\s\x00-\x1f~^:?*\[\\]|\.\.|^[-/]|/$", name) is None
