"""The final file is right or absent, never partial: a server that misbehaves in every way."""

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.budget import note, sample
from support.faulty_server import (
    FakeClock,
    FaultyServer,
    Reply,
    Request,
    faulty_server,
    names,
    part_of,
)

from meadow.errors import ExitCode, FileError, MeadowError, NetworkError, UpstreamChangedError
from meadow.net.download import Expected, Fetched, download
from meadow.net.http import check_address, clean_address, make_client
from meadow.net.retry import Retries, RetryPolicy, parse_retry_after

DATA = random.Random(3).randbytes(300_000)
OTHER = random.Random(4).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
KNOWN = Expected(SHA256, len(DATA), 10**6)
UNKNOWN = Expected(None, None, 10**6)
STANDARD = RetryPolicy()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def get(
    url: str,
    target: Path,
    expected: Expected = KNOWN,
    *,
    policy: RetryPolicy = STANDARD,
    fake: FakeClock | None = None,
) -> Fetched:
    fake = fake or FakeClock()
    policy = fake.policy(policy)
    with make_client(silence=policy.silence) as client:
        return download(client, url, target, expected, Retries(url, policy))


def right(target: Path) -> bool:
    """Whether the file is right and alone."""
    return target.read_bytes() == DATA and names(target.parent) == [target.name]


OFFSETS = [0, 1, 2, 511, 512, 513, len(DATA) - 1, *range(4_000, len(DATA), 6_900)][:50]


@pytest.mark.parametrize(
    ("expected", "reset"), [(KNOWN, True), (UNKNOWN, False)], ids=["known-reset", "unknown-end"]
)
def test_a_cut_at_each_of_50_offsets_is_taken_up_again(
    server: FaultyServer, tmp_path: Path, expected: Expected, reset: bool
) -> None:
    assert len(OFFSETS) == 50
    assert {0, len(DATA) - 1} <= set(OFFSETS)
    for offset in OFFSETS[:: sample()]:
        url = server.serve(
            lambda request, count, offset=offset: part_of(
                DATA, request, cut=offset if count == 0 else None, reset=reset
            )
        )
        target = tmp_path / str(offset) / "file"
        assert get(url, target, expected).sha256 == SHA256
        assert right(target)
        note("download_cuts")
        following = server.asked(url)[1]
        if offset > 512 and not reset:
            assert following.start == offset, "what had arrived was asked for again"
            assert following.headers["if-range"] == '"v1"'


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_one_file_through_50_cuts(server: FaultyServer, tmp_path: Path, chunked: bool) -> None:
    """Cuts that are far enough apart never wear a transfer out."""
    large = DATA * 12
    step = len(large) // 50 + 1
    url = server.serve(lambda request, count: part_of(large, request, cut=step, chunked=chunked))
    fake = FakeClock()
    fetched = get(url, tmp_path / "file", Expected(None, None, 10**8), fake=fake)
    assert fetched.sha256 == hashlib.sha256(large).hexdigest()
    assert len(fake.waits) >= 49


def test_a_server_that_always_cuts_early_wears_out_and_the_rest_is_kept_for_later(
    server: FaultyServer, tmp_path: Path
) -> None:
    url = server.route("/early", lambda request, count: part_of(DATA, request, cut=1000))
    target = tmp_path / "file"
    with pytest.raises(NetworkError, match="given up after 6 tries") as error:
        get(url, target)
    assert error.value.exit_code is ExitCode.FAILED
    assert not target.exists()
    assert (tmp_path / "file.part").read_bytes() == DATA[:6000]
    honest = server.route("/early", lambda request, count: part_of(DATA, request))
    get(honest, target)
    assert server.requests[-1].start == 6000
    assert right(target)


RESUMES: dict[str, Callable[[Request], Reply]] = {
    "refused": lambda request: Reply(b"", 416),
    "ignored": lambda request: Reply(DATA),
    "wrong place": lambda request: Reply(
        DATA[5:], 206, {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}
    ),
    "no place": lambda request: Reply(DATA[request.start :], 206),
    "other version under 206": lambda request: part_of(
        OTHER, Request("GET", "", {"range": request.headers["range"]}), etag='"v2"'
    ),
    "other total": lambda request: Reply(
        DATA[request.start :], 206, {"Content-Range": f"bytes {request.start}-9/10"}
    ),
    "500": lambda request: Reply(b"oops", 500),
    "429": lambda request: Reply(b"slow down", 429, {"Retry-After": "7"}),
}


@pytest.mark.parametrize("case", RESUMES)
@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["known", "unknown"])
def test_every_wrong_answer_to_a_resume_ends_in_the_same_bytes(
    server: FaultyServer, tmp_path: Path, case: str, expected: Expected
) -> None:
    def handle(request: Request, count: int) -> Reply:
        if count == 0:
            return part_of(DATA, request, cut=100_000)
        return RESUMES[case](request) if count == 1 else part_of(DATA, request)

    get(server.serve(handle), tmp_path / "file", expected)
    assert right(tmp_path / "file")


FLIPPED = bytes([*DATA[:12345], DATA[12345] ^ 1, *DATA[12346:]])
RECOVERS: dict[str, tuple[Callable[[Request], Reply], int, Expected, list[float]]] = {
    "another version": (
        lambda request: part_of(OTHER, request, etag='"old"', cut=150_000), 1, UNKNOWN, [1],
    ),
    "another version, and no validator": (
        lambda request: part_of(OTHER, request, etag="", cut=150_000), 1, UNKNOWN, [1],
    ),
    "a flipped byte": (lambda request: part_of(FLIPPED, request), 1, KNOWN, []),
    "429": (lambda request: Reply(b"no", 429), 4, KNOWN, [1, 2, 4, 8]),
    "503": (lambda request: Reply(b"no", 503), 4, KNOWN, [1, 2, 4, 8]),
    "a stated wait": (lambda request: Reply(b"", 429, {"Retry-After": "42"}), 1, KNOWN, [42]),
    "silence": (lambda request: time.sleep(3) or part_of(DATA, request), 1, KNOWN, [1]),
}  # fmt: skip


@pytest.mark.parametrize("case", RECOVERS)
def test_a_server_that_comes_to_its_senses_gives_the_right_file(
    server: FaultyServer, tmp_path: Path, case: str
) -> None:
    """Waits as long as it has to, and never joins the bytes of two versions."""
    first, times, expected, waits = RECOVERS[case]
    fake = FakeClock()
    url = server.serve(
        lambda request, count: first(request) if count < times else part_of(DATA, request)
    )
    policy = RetryPolicy(silence=1) if case == "silence" else RetryPolicy()
    get(url, tmp_path / "file", expected, policy=policy, fake=fake)
    assert right(tmp_path / "file")
    assert fake.waits == waits


def test_a_weak_etag_is_no_validator_and_a_date_is(server: FaultyServer, tmp_path: Path) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"

    def handle(request: Request, count: int) -> Reply:
        reply = part_of(DATA, request, etag="", cut=150_000 if count == 0 else None)
        reply.headers |= {"ETag": 'W/"x"', "Last-Modified": date}
        return reply

    url = server.serve(handle)
    get(url, tmp_path / "file", UNKNOWN)
    assert server.asked(url)[1].headers.get("if-range") == date
    assert right(tmp_path / "file")


# -- length and size ------------------------------------------------------------------------------


def test_a_stated_length_before_the_end_is_seen_without_either(
    server: FaultyServer, tmp_path: Path
) -> None:
    def handle(request: Request, count: int) -> Reply:
        if request.start:
            return part_of(DATA, request)
        return Reply(DATA, 200, {"ETag": '"v1"'}, length=1000)

    with pytest.raises(UpstreamChangedError, match="has more"):
        get(server.serve(handle), tmp_path / "file", UNKNOWN)
    assert not (tmp_path / "file").exists()


def test_an_endless_body_stops_at_the_cap(server: FaultyServer, tmp_path: Path) -> None:
    block = bytes(65536)
    url = server.serve(Reply(itertools.repeat(block), chunked=True))
    before = server.sent
    with pytest.raises(FileError, match="cap of 1,000,000"):
        get(url, tmp_path / "file", UNKNOWN)
    assert names(tmp_path) == []
    # What was sent beyond the cap sits in the buffers of the two sockets.
    assert server.sent - before < 16 * 2**20


REFUSED: dict[str, tuple[Reply, type[MeadowError], str]] = {
    "a length above the cap": (Reply(b"x", length=10**12), FileError, "larger than the cap"),
    "no length": (Reply(DATA, length=-1), NetworkError, "does not say how long"),
    "packed": (Reply(DATA, 200, {"Content-Encoding": "gzip"}), NetworkError, "Content-Encoding"),
    "a long wait": (Reply(b"", 503, {"Retry-After": "86400"}), NetworkError, "86400 seconds"),
    "404": (Reply(b"no", 404), NetworkError, "404"),
    "418": (Reply(b"no", 418), NetworkError, "418"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_asked_for_once_and_leaves_nothing(
    server: FaultyServer, tmp_path: Path, case: str
) -> None:
    reply, kind, message = REFUSED[case]
    url = server.serve(reply)
    with pytest.raises(kind, match=message) as error:
        get(url, tmp_path / "file", UNKNOWN)
    assert error.value.fix
    assert len(server.asked(url)) == 1
    assert names(tmp_path) == []


def test_a_known_file_needs_no_length_and_a_packed_one_may_be_called_so(
    server: FaultyServer, tmp_path: Path
) -> None:
    get(server.serve(REFUSED["no length"][0]), tmp_path / "file")
    assert right(tmp_path / "file")
    get(server.serve(REFUSED["packed"][0]), tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == DATA


# -- deadlines -------------------------------------------------------------------------------------


def test_a_slow_drip_ends_at_the_total_deadline(server: FaultyServer, tmp_path: Path) -> None:
    drip = (bytes([value]) for value in itertools.cycle(range(256)))
    url = server.serve(Reply(drip, 200, {"ETag": '"d"'}, length=10**6, pause=0.001))
    with pytest.raises(NetworkError, match="not finished within 40 seconds"):
        get(
            url, tmp_path / "file", UNKNOWN, policy=RetryPolicy(deadline=40), fake=FakeClock(tick=1)
        )
    assert not (tmp_path / "file").exists()


def test_a_connection_that_is_too_slow_is_given_up_and_continued(
    server: FaultyServer, tmp_path: Path
) -> None:
    def handle(request: Request, count: int) -> Reply:
        if count == 0:
            rest = (DATA[i : i + 1] for i in range(len(DATA)))
            return Reply(rest, 200, {"ETag": '"v1"'}, length=len(DATA), pause=0.0005)
        return part_of(DATA, request)

    policy = RetryPolicy(slow_window=700, slow_rate=5)
    url = server.serve(handle)
    get(url, tmp_path / "file", policy=policy, fake=FakeClock(tick=1))
    assert right(tmp_path / "file")
    _, again = server.asked(url)
    assert 0 < again.start < 1000


@pytest.mark.parametrize(
    ("url", "message", "waits"),
    [
        ("http://127.0.0.1:1/file", "ConnectError", 5),
        ("https://nowhere.invalid/file", "name cannot be resolved", 1),
    ],
)
def test_nobody_is_there(tmp_path: Path, url: str, message: str, waits: int) -> None:
    fake = FakeClock()
    with pytest.raises(NetworkError, match=message):
        get(url, tmp_path / "file", fake=fake)
    assert len(fake.waits) == waits


# -- where from ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["http://example.org/data", "ftp://example.org/data", "file:///etc/passwd", "//[x"]
)
def test_a_redirect_to_anything_but_https_is_refused(
    server: FaultyServer, tmp_path: Path, location: str
) -> None:
    url = server.serve(Reply(b"", 302, {"Location": location}))
    with pytest.raises(NetworkError, match=r"not https|cannot be read"):
        get(url, tmp_path / "file")
    assert names(tmp_path) == []


def test_endless_redirects_are_refused(server: FaultyServer, tmp_path: Path) -> None:
    url = server.route("/loop", lambda request, count: Reply(b"", 302, {"Location": "/loop"}))
    with pytest.raises(NetworkError, match="redirects"):
        get(url, tmp_path / "file")


def test_which_addresses_are_allowed() -> None:
    check_address("https://example.org/x", before=None)
    check_address("https://example.org/x", before="https://elsewhere.org/y")
    check_address("http://localhost:80/x", before="http://127.0.0.1/y")
    for url, before in [
        ("http://example.org/x", None),
        ("http://example.org/x", "https://example.org/x"),
        ("http://127.0.0.1/x", "https://example.org/x"),
        ("ftp://example.org/x", None),
        ("https:///x", None),
    ]:
        with pytest.raises(NetworkError):
            check_address(url, before=before)
    assert clean_address("https://user:secret@host/a?token=hf_x#y") == "https://host/a"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!DOCTYPE html>\n<html><body>Please log in</body></html>", ""),
        (b"\xef\xbb\xbf  <html lang='en'>", ""),
        (b"<!-- hello --><HTML>", "application/octet-stream"),
        (b"anything", "text/html; charset=utf-8"),
    ],
)
def test_a_web_page_where_data_was_due_is_refused(
    server: FaultyServer, tmp_path: Path, body: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    url = server.serve(Reply(body, 200, headers))
    with pytest.raises(NetworkError, match="got an HTML page"):
        get(url, tmp_path / "data.csv", UNKNOWN)
    assert len(server.asked(url)) == 1
    assert names(tmp_path) == []
    get(url, tmp_path / "page.html", UNKNOWN)
    assert (tmp_path / "page.html").read_bytes() == body


def test_a_proxy_of_the_environment_is_used(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.route("http://127.0.0.1:9/file", lambda request, count: part_of(DATA, request))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    get("http://127.0.0.1:9/file", tmp_path / "file")
    assert right(tmp_path / "file")


# -- hashes ----------------------------------------------------------------------------------------


def test_wrong_twice_is_kept_as_bad(server: FaultyServer, tmp_path: Path) -> None:
    url = server.serve(lambda request, count: part_of(OTHER, request))
    with pytest.raises(UpstreamChangedError) as error:
        get(url, tmp_path / "file")
    assert error.value.exit_code is ExitCode.UPSTREAM_CHANGED
    for part in (SHA256, hashlib.sha256(OTHER).hexdigest(), url):
        assert part in str(error.value)
    assert len(server.asked(url)) == 2
    assert names(tmp_path) == ["file.bad"]


def test_a_disk_without_room_is_said_at_once(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    url = server.serve(lambda request, count: part_of(DATA, request))
    with pytest.raises(FileError, match="are needed and"):
        get(url, tmp_path / "file")
    assert names(tmp_path) == []


def test_what_a_killed_run_left_of_another_version_is_void(
    server: FaultyServer, tmp_path: Path
) -> None:
    early = server.route(
        "/void", lambda request, count: part_of(OTHER, request, etag='"old"', cut=1000)
    )
    with pytest.raises(NetworkError):
        get(early, tmp_path / "file", UNKNOWN)
    url = server.route("/void", lambda request, count: part_of(DATA, request, etag='"new"'))
    get(url, tmp_path / "file", UNKNOWN)
    assert right(tmp_path / "file")


@pytest.mark.parametrize("seed", range(60))
def test_any_sequence_of_faults_gives_the_right_file_or_none(
    server: FaultyServer, tmp_path: Path, seed: int
) -> None:
    """A server that draws a new fault for each request, from all kinds above."""
    dice = random.Random(seed)

    def handle(request: Request, count: int) -> Reply:
        fault = dice.randrange(9)
        if fault == 0:
            return Reply(b"no", dice.choice([429, 500, 503]))
        if fault == 1:
            return part_of(DATA, request, cut=dice.randrange(len(DATA)), reset=dice.random() < 0.5)
        if fault == 2:
            return Reply(DATA, cut=dice.randrange(len(DATA)))
        if fault == 3:
            return Reply(DATA, length=dice.randrange(len(DATA)))
        if fault == 4:
            return part_of(OTHER, request, etag='"v2"', cut=dice.randrange(len(DATA)))
        if fault == 5 and request.start:
            return RESUMES[dice.choice(list(RESUMES))](request)
        return part_of(DATA, request, chunked=dice.random() < 0.5)

    target = tmp_path / "file"
    try:
        get(server.serve(handle), target)
    except MeadowError:
        assert not target.exists()
    else:
        assert right(target)


def test_retry_after_dates() -> None:
    assert parse_retry_after("3") == 3
    assert parse_retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    assert parse_retry_after("Fri, 01 Jan 2100 00:00:00 GMT") > 10**8  # type: ignore[operator]
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None
