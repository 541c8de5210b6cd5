"""The final file is right or absent, never partial: a server that misbehaves in every way."""

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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
        url = server.route(
            f"/cut-{offset}",
            lambda request, count, offset=offset: part_of(
                DATA, request, cut=offset if count == 0 else None, reset=reset
            ),
        )
        before = len(server.requests)
        target = tmp_path / str(offset) / "file"
        assert get(url, target, expected).sha256 == SHA256
        assert right(target)
        note("download_cuts")
        following = server.requests[before + 1]
        if offset > 512 and not reset:
            assert following.start == offset, "what had arrived was asked for again"
            assert following.headers["if-range"] == '"v1"'


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_one_file_through_50_cuts(server: FaultyServer, tmp_path: Path, chunked: bool) -> None:
    """Cuts that are far enough apart never wear a transfer out."""
    large = DATA * 12
    step = len(large) // 50 + 1
    url = server.route(
        f"/fifty-{chunked}",
        lambda request, count: part_of(large, request, cut=step, chunked=chunked),
    )
    fake = FakeClock()
    expected = Expected(None, None, 10**8)
    fetched = get(url, tmp_path / "file", expected, fake=fake)
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

    get(server.route(f"/resume-{case.replace(' ', '-')}", handle), tmp_path / "file", expected)
    assert right(tmp_path / "file")


def test_a_file_that_changes_between_two_tries_is_never_joined(
    server: FaultyServer, tmp_path: Path
) -> None:
    def handle(request: Request, count: int) -> Reply:
        if count == 0:
            return part_of(OTHER, request, etag='"old"', cut=150_000)
        return part_of(DATA, request, etag='"new"')

    fetched = get(server.route("/changed", handle), tmp_path / "file", UNKNOWN)
    assert fetched.sha256 == SHA256
    assert right(tmp_path / "file")


def test_without_a_validator_an_unknown_file_is_not_continued(
    server: FaultyServer, tmp_path: Path
) -> None:
    def handle(request: Request, count: int) -> Reply:
        data = OTHER if count == 0 else DATA
        return part_of(data, request, etag="", cut=150_000 if count == 0 else None)

    get(server.route("/no-etag", handle), tmp_path / "file", UNKNOWN)
    assert right(tmp_path / "file")
    assert all("range" not in r.headers for r in server.requests if r.path == "/no-etag"
               and r.start != len(DATA))  # fmt: skip


def test_a_weak_etag_is_no_validator_and_a_date_is(server: FaultyServer, tmp_path: Path) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"

    def handle(request: Request, count: int) -> Reply:
        reply = part_of(DATA, request, etag="", cut=150_000 if count == 0 else None)
        reply.headers |= {"ETag": 'W/"x"', "Last-Modified": date}
        return reply

    get(server.route("/weak", handle), tmp_path / "file", UNKNOWN)
    conditions = [r.headers.get("if-range") for r in server.requests if r.path == "/weak"]
    assert conditions[1] == date
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
        get(server.route("/short2", handle), tmp_path / "file", UNKNOWN)
    assert not (tmp_path / "file").exists()


def test_an_endless_body_stops_at_the_cap(server: FaultyServer, tmp_path: Path) -> None:
    block = bytes(65536)
    url = server.route(
        "/endless", lambda request, count: Reply(itertools.repeat(block), chunked=True)
    )
    before = server.sent
    with pytest.raises(FileError, match="cap of 1,000,000"):
        get(url, tmp_path / "file", UNKNOWN)
    assert names(tmp_path) == []
    # What was sent beyond the cap sits in the buffers of the two sockets.
    assert server.sent - before < 16 * 2**20


def test_a_stated_length_above_the_cap_is_not_even_begun(
    server: FaultyServer, tmp_path: Path
) -> None:
    url = server.route("/huge", lambda request, count: Reply(b"x", length=10**12))
    with pytest.raises(FileError, match="larger than the cap"):
        get(url, tmp_path / "file", UNKNOWN)
    assert names(tmp_path) == []


def test_a_body_whose_end_cannot_be_known_is_refused_unless_the_file_is_known(
    server: FaultyServer, tmp_path: Path
) -> None:
    url = server.route("/no-length", lambda request, count: Reply(DATA, length=-1))
    with pytest.raises(NetworkError, match="does not say how long"):
        get(url, tmp_path / "file", UNKNOWN)
    assert names(tmp_path) == []
    get(url, tmp_path / "file")
    assert right(tmp_path / "file")


def test_an_encoded_body_is_refused_and_never_inflated(
    server: FaultyServer, tmp_path: Path
) -> None:
    url = server.route(
        "/bomb", lambda request, count: Reply(DATA, 200, {"Content-Encoding": "gzip"})
    )
    with pytest.raises(NetworkError, match="Content-Encoding"):
        get(url, tmp_path / "file")
    get(url, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == DATA


# -- refusals, waits, deadlines -------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_refusal_is_waited_for(server: FaultyServer, tmp_path: Path, status: int) -> None:
    fake = FakeClock()
    url = server.route(
        f"/status-{status}",
        lambda request, count: Reply(b"no", status) if count < 4 else part_of(DATA, request),
    )
    get(url, tmp_path / "file", fake=fake)
    assert right(tmp_path / "file")
    assert fake.waits == [1, 2, 4, 8]


def test_retry_after_is_honoured_up_to_a_cap(server: FaultyServer, tmp_path: Path) -> None:
    fake = FakeClock()
    url = server.route(
        "/retry-after",
        lambda request, count: (
            Reply(b"", 429, {"Retry-After": "42"}) if count == 0 else part_of(DATA, request)
        ),
    )
    get(url, tmp_path / "file", fake=fake)
    assert fake.waits == [42]
    url = server.route(
        "/retry-long", lambda request, count: Reply(b"", 503, {"Retry-After": "86400"})
    )
    with pytest.raises(NetworkError, match="86400 seconds"):
        get(url, tmp_path / "other", fake=fake)
    assert fake.waits == [42]


@pytest.mark.parametrize("status", [404, 418])
def test_a_refusal_for_good_is_not_repeated(
    server: FaultyServer, tmp_path: Path, status: int
) -> None:
    url = server.route(f"/refused-{status}", lambda request, count: Reply(b"no", status))
    before = len(server.requests)
    with pytest.raises(NetworkError, match=str(status)) as error:
        get(url, tmp_path / "file")
    assert len(server.requests) == before + 1
    assert error.value.fix
    assert names(tmp_path) == []


def test_a_slow_drip_ends_at_the_total_deadline(server: FaultyServer, tmp_path: Path) -> None:
    drip = (bytes([value]) for value in itertools.cycle(range(256)))
    url = server.route(
        "/drip", lambda request, count: Reply(drip, 200, {"ETag": '"d"'}, length=10**6, pause=0.001)
    )
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
    get(server.route("/slow", handle), tmp_path / "file", policy=policy, fake=FakeClock(tick=1))
    assert right(tmp_path / "file")
    asked = [request for request in server.requests if request.path == "/slow"]
    assert len(asked) == 2
    assert 0 < asked[1].start < 1000


def test_silence_is_a_failed_try(server: FaultyServer, tmp_path: Path) -> None:
    def handle(request: Request, count: int) -> Reply:
        if count == 0:
            time.sleep(0.5)
        return part_of(DATA, request)

    get(server.route("/silent", handle), tmp_path / "file", policy=RetryPolicy(silence=0.1))
    assert right(tmp_path / "file")


def test_nobody_listens(tmp_path: Path) -> None:
    fake = FakeClock()
    with pytest.raises(NetworkError, match="ConnectError"):
        get("http://127.0.0.1:1/file", tmp_path / "file", fake=fake)
    assert len(fake.waits) == 5


def test_a_host_without_an_address_is_not_asked_again_and_again(tmp_path: Path) -> None:
    fake = FakeClock()
    with pytest.raises(NetworkError, match="name cannot be resolved"):
        get("https://nowhere.invalid/file", tmp_path / "file", fake=fake)
    assert len(fake.waits) == 1


# -- where from ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["http://example.org/data", "ftp://example.org/data", "file:///etc/passwd", "//[x"]
)
def test_a_redirect_to_anything_but_https_is_refused(
    server: FaultyServer, tmp_path: Path, location: str
) -> None:
    url = server.route("/down", lambda request, count: Reply(b"", 302, {"Location": location}))
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
    url = server.route("/login", lambda request, count: Reply(body, 200, headers))
    before = len(server.requests)
    with pytest.raises(NetworkError, match="got an HTML page"):
        get(url, tmp_path / "data.csv", UNKNOWN)
    assert len(server.requests) == before + 1
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


def test_one_flipped_byte_gets_a_fresh_transfer(server: FaultyServer, tmp_path: Path) -> None:
    flipped = bytearray(DATA)
    flipped[12345] ^= 1
    url = server.route(
        "/flip-once", lambda request, count: part_of(bytes(flipped) if not count else DATA, request)
    )
    get(url, tmp_path / "file")
    assert right(tmp_path / "file")


def test_wrong_twice_is_kept_as_bad(server: FaultyServer, tmp_path: Path) -> None:
    url = server.route("/flip", lambda request, count: part_of(OTHER, request))
    before = len(server.requests)
    with pytest.raises(UpstreamChangedError) as error:
        get(url, tmp_path / "file")
    assert error.value.exit_code is ExitCode.UPSTREAM_CHANGED
    assert SHA256 in str(error.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(error.value)
    assert url in str(error.value)
    assert len(server.requests) == before + 2
    assert names(tmp_path) == ["file.bad"]


def test_a_disk_without_room_is_said_at_once(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    url = server.route("/room", lambda request, count: part_of(DATA, request))
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
        get(server.route(f"/any-{seed}", handle), target)
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
