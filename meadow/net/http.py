"""The bytes of one http(s) address, in order, across cuts, refusals and changes of the server.

A cut connection is taken up again with Range and If-Range, so that the bytes of two versions of a
file are never joined: where the server cannot promise that (no validator, another ETag, ranges
ignored), the transfer starts from the first byte again and says so to whoever collects the bytes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from meadow.errors import FileError, NetworkError, UpstreamChangedError, UsageError
from meadow.net.retry import RETRY_STATUS, Retries, TryAgain, broken, parse_retry_after

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
BY_HAND = "download it in a browser and put it in place by hand"
NEW_VERSION = "see whether upstream has released a new version"
HEAD_BYTES = 512
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HTML = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def make_client(*, silence: float = 30.0) -> httpx.Client:
    """An HTTP client: proxies from the environment, redirects left to `RemoteFile`."""
    import httpx

    return httpx.Client(
        timeout=httpx.Timeout(silence),
        follow_redirects=False,
        headers={
            "User-Agent": f"medical-meadow/{metadata.version('medical-meadow')}",
            # A transfer encoding would make ranges and sizes those of other bytes.
            "Accept-Encoding": "identity",
        },
    )


@dataclass(slots=True)
class RemoteFile:
    """One address and how far its bytes have been read.

    Args:
        client: Made with `make_client`.
        url: An http(s) address.
        retries: The tries of this transfer.
        cap: The largest number of bytes that is accepted.
        html: Whether an HTML page is what is wanted.
        encoded: Whether the file is gzip itself, so that servers may call that its encoding.
        size: The known size in bytes.
        checked: Whether a hash is compared afterwards; a resume then needs no validator.
        offset: Bytes that are already at hand.
        validator: What If-Range compares: a strong ETag or Last-Modified.
        total: The length that the server states.
        on_restart: Called when the bytes at hand are void.
        on_validator: Called when the server has named its version of the file.
    """

    client: httpx.Client
    url: str
    retries: Retries
    cap: int
    html: bool = False
    encoded: bool = False
    size: int | None = None
    checked: bool = False
    offset: int = 0
    validator: str = ""
    total: int | None = None
    on_restart: Callable[[], None] = lambda: None
    on_validator: Callable[[], None] = lambda: None

    @property
    def address(self) -> str:
        """The address without credentials."""
        return clean_address(self.url)

    def blocks(self) -> Generator[bytes, None, None]:
        """The bytes from `offset` to the end.

        Raises:
            NetworkError: The tries or the time are used up, or the server refuses for good.
            FileError: More bytes than `cap`.
            UpstreamChangedError: The server states another size than the known one.
        """
        import httpx

        while True:
            try:
                with self._response() as response:
                    yield from self._checked_head(response)
                if self.total is not None and self.offset < self.total:
                    raise TryAgain(
                        f"the connection ended at {self.offset:,} of {self.total:,} bytes"
                    )
            except TryAgain as again:
                self.retries.failed(again)
            except httpx.TransportError as error:
                self.retries.failed(broken(error))
            else:
                return

    def something_beyond(self) -> bool:
        """Whether the server has bytes after the end that it stated (a lie about the length)."""
        import httpx

        headers = {"Range": f"bytes={self.offset}-"}
        try:
            with self._send(headers) as response:
                return response.status_code == 206 and bool(next(response.iter_raw(), b""))
        except (httpx.TransportError, TryAgain):
            return False

    @contextlib.contextmanager
    def _response(self) -> Iterator[httpx.Response]:
        """An answer whose body continues at `offset`."""
        headers: dict[str, str] = {}
        if self.offset and not (self.validator or self.checked):
            self._restart()
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
            if self.validator:
                headers["If-Range"] = self.validator
        with self._send(headers) as response:
            self._check_status(response)
            self._check_encoding(response)
            if response.status_code == 206:
                self._check_range(response)
            else:
                if self.offset:
                    self._restart()
                self._note_version(response)
            yield response

    @contextlib.contextmanager
    def _send(self, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Send a request and follow redirects, to https only."""
        url = self.url
        check_address(url, before=None)
        for _ in range(MAX_REDIRECTS + 1):
            request = self.client.build_request("GET", url, headers=headers)
            response = self.client.send(request, stream=True)
            try:
                location = response.headers.get("location")
                if not (300 <= response.status_code < 400 and location):
                    yield response
                    return
                try:
                    following = urljoin(url, location)
                except ValueError:
                    following = ""
                check_address(following, before=url)
                url = following
            finally:
                response.close()
        raise self._refused(f"more than {MAX_REDIRECTS} redirects")

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in {200, 206}:
            return
        if status == 416:
            self._restart()
            raise TryAgain("the server refuses the rest of the file")
        if status in RETRY_STATUS:
            wait = parse_retry_after(response.headers.get("retry-after"))
            raise TryAgain(f"the server answers {status}", retry_after=wait)
        fixes = {
            401: f"the file needs a login: {BY_HAND}",
            403: f"the server forbids it: {BY_HAND}",
            404: "it is not there (any more): look for it at the source's home page",
            410: "it is not there any more: look for it at the source's home page",
        }
        fix = fixes.get(status, "open the address in a browser to see what it says")
        raise self._refused(f"the server answers {status}", fix)

    def _check_encoding(self, response: httpx.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding == "identity" or (self.encoded and encoding in {"gzip", "x-gzip"}):
            return
        # a header's value is the server's: only a plain word of it is repeated
        shown = encoding if re.fullmatch(r"[a-z-]{1,12}", encoding) else "of its own"
        raise self._refused(f"the server sends the file with a Content-Encoding {shown}, unasked")

    def _check_range(self, response: httpx.Response) -> None:
        """A part is good if it begins where we are and belongs to the same version."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        total = int(match[3]) if match and match[3] != "*" else self.total
        same_version = (
            not self.validator or _validator(response) in {"", self.validator}
        ) and self.total in {None, total}
        if not self.offset or not match or int(match[1]) != self.offset or not same_version:
            self._restart()
            raise TryAgain("the server sent another part than the one asked for")
        self.total = total
        self._check_total()

    def _note_version(self, response: httpx.Response) -> None:
        length = response.headers.get("content-length", "")
        self.total = int(length) if length.isdecimal() and len(length) < 19 else None
        chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
        if self.total is None and not chunked and self.size is None and not self.checked:
            raise self._refused(
                "the server does not say how long the file is: a cut would not be noticed"
            )
        self.validator = _validator(response)
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not self.html and content_type in {"text/html", "application/xhtml+xml"}:
            raise self._got_html()
        self._check_total()
        self.on_validator()

    def _check_total(self) -> None:
        if self.total is None:
            return
        if self.size is not None and self.total != self.size:
            raise self._changed(f"the file has {self.total:,} bytes; {self.size:,} were expected")
        if self.total > self.cap:
            raise self._too_large()

    def _checked_head(self, response: httpx.Response) -> Iterator[bytes]:
        """The body; its first bytes are held back until they are seen not to be a web page."""
        if self.offset or self.html:
            yield from self._body(response)
            return
        head = b""
        body = self._body(response)
        try:
            for block in body:
                head += block
                if len(head) >= HEAD_BYTES:
                    break
        except BaseException:
            # Nothing has been handed on yet, so nothing is at hand.
            self.offset = 0
            raise
        if _HTML.match(head[:HEAD_BYTES].removeprefix(_BYTE_ORDER_MARK)):
            raise self._got_html()
        if head:
            yield head
        yield from body

    def _body(self, response: httpx.Response) -> Iterator[bytes]:
        """The bytes as they come, under the caps of size, time and speed."""
        policy = self.retries.policy
        window_start, window_bytes = policy.now(), 0
        for block in response.iter_raw():
            self.retries.check_deadline()
            self.offset += len(block)
            if self.size is not None and self.offset > self.size:
                raise self._changed(f"the file has more than the expected {self.size:,} bytes")
            if self.offset > self.cap:
                raise self._too_large()
            self.retries.advance(self.offset)
            yield block
            window_bytes += len(block)
            elapsed = policy.now() - window_start
            if elapsed >= policy.slow_window:
                if window_bytes < policy.slow_rate * elapsed:
                    raise TryAgain(f"only {window_bytes / elapsed:.0f} bytes a second")
                window_start, window_bytes = policy.now(), 0

    def _restart(self) -> None:
        self.offset = 0
        self.validator = ""
        self.total = None
        self.on_restart()

    def _refused(self, why: str, fix: str = BY_HAND) -> NetworkError:
        return NetworkError(why, where=self.address, fix=fix)

    def _changed(self, how: str) -> UpstreamChangedError:
        return UpstreamChangedError(how, where=self.address, fix=NEW_VERSION)

    def _too_large(self) -> FileError:
        return FileError(
            f"the file is larger than the cap of {self.cap:,} bytes",
            where=self.address,
            fix="look at what the address serves; the cap stands in the source's description",
        )

    def _got_html(self) -> NetworkError:
        return self._refused("got an HTML page where data was due (a login page or an error page)")


def _validator(response: httpx.Response) -> str:
    """What If-Range may compare: a strong ETag, else the date of the last change, else nothing."""
    etag: str = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str = response.headers.get("last-modified", "")
    return modified


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_address(url: str, *, before: str | None) -> None:
    """Refuse anything but https; http is for this machine, and never reached from elsewhere.

    `before` is the address that redirects to it; None for the first one.
    """
    parts = split_address(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and is_loopback(parts.hostname):
        origin = urlsplit(before) if before else parts
        if origin.scheme == "http" and is_loopback(origin.hostname):
            return
    if before is None:
        raise NetworkError(
            "only https addresses are fetched",
            where=clean_address(url),
            fix="give the https address, or put the file in place by hand",
        )
    what = f"{clean_address(before)} redirects to an address that is not https"
    raise NetworkError(what, where=clean_address(url), fix=BY_HAND)


def split_address(url: str, where: str = "") -> SplitResult:
    """The parts of an address; `where` it comes from stands in the message.

    Raises:
        UsageError: It is none; what it is is not repeated, since there may be a password in it.
    """
    try:
        return urlsplit(url)
    except ValueError:
        fix = "check how it is spelt: a host in brackets is the number of a machine (IPv6)"
        raise UsageError(clean_address(url), where=where, fix=fix) from None


def clean_address(url: str) -> str:
    """The address without user, password, query and fragment: fit for messages and lock files."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def plain_address(url: str, option: str) -> str:
    """An address that may be printed and kept as it is, since it holds no secret.

    `option` is where a user gave it.

    Raises:
        UsageError: It has a user, a password or a query, or is none.
    """
    if not url.startswith(("http://", "https://")) or clean_address(url) != url:
        raise UsageError(
            "not a plain http(s) address: no user, password, query or fragment may stand in it",
            where=clean_address(url),
            fix=f"give {option} without them; keys come from the environment",
        )
    return url
