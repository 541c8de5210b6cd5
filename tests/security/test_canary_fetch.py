"""Passwords and signed queries in the address of a raw file, through every failure of its server.

No source of ours has such an address, but a source is one file that anyone can add: so a command
with one more source is run, in a process of its own.
"""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.canary import PASSWORD, OtherHost, Watch, is_leak
from support.faulty_server import FaultyServer, Reply, Request, faulty_server, part_of

DATA = b"question,answer\n" * 900
SCRIPT = """
import os, sys
from meadow.cli.app import main
from meadow.source import File, Origin, Source
import meadow.sources

file = File("toy.csv", os.environ["TOY_URL"], sha256=os.environ.get("TOY_SHA256"))
origin = Origin(files=(file,), read=lambda i, o: iter(()), convert=lambda r, o: iter(()))
toy = Source("toy", "Toy", "https://example.org", "Nobody", "mit", False, upstream=origin)
meadow.sources.SOURCES = {**meadow.sources.SOURCES, "toy": toy}
main()
"""
Answer = Callable[[Request, int], Reply]


def always(*arguments: object, **values: object) -> Answer:
    return lambda request, count: Reply(*arguments, **values)  # type: ignore[arg-type]


def echo(request: Request, count: int) -> Reply:
    """An error page that repeats what it was sent."""
    return Reply(f"{request.path} {request.headers}".encode(), 403)


FAULTS: dict[str, Answer] = {
    "a status": echo,
    "a cut": always(DATA, cut=100),
    "another hash": always(b"another file\n" * 10),
    "a header": always(DATA, 200, {"Content-Encoding": PASSWORD}),
}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    made = Watch(tmp_path / "home")
    (made.folder / "toy.py").write_text(SCRIPT)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


def secret_address(server: FaultyServer, answer: Answer) -> str:
    """An address with password and signed query; the server knows it by path and query."""
    path = f"/toy.csv?X-Amz-Signature={PASSWORD}&token={PASSWORD}"
    server.route(path, answer)
    return f"http://user:{PASSWORD}@127.0.0.1:{server.port}{path}#{PASSWORD}"


def fetch(watch: Watch, url: str, *options: str, fails: bool = True, **more: str) -> None:
    argv = ["toy.py", *options, "fetch", "toy", "--raw", watch.folder / "raw",
            "--lock", watch.folder / "sources.lock.toml", "--json"]  # fmt: skip
    watch.run(*argv, fails=fails, TOY_URL=url, **more)
    assert watch.leaks == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_secret_in_an_address_is_used_and_kept_nowhere(
    watch: Watch, server: FaultyServer, fault: str
) -> None:
    url = secret_address(server, FAULTS[fault])
    fetch(watch, url, "--debug", TOY_SHA256="0" * 64)
    asked = server.requests[-1]
    assert PASSWORD in asked.path, "the query belongs to the address"
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert asked.headers["authorization"] == f"Basic {basic}"
    # and where all goes well: the lock file and the raw file
    fetch(watch, secret_address(server, lambda request, count: part_of(DATA, request)), fails=False)
    assert (watch.folder / "raw" / "toy" / "toy.csv").read_bytes() == DATA
    assert "toy.csv" in (watch.folder / "sources.lock.toml").read_text()


def test_a_plan_shows_the_address_without_its_secrets(watch: Watch, server: FaultyServer) -> None:
    url = secret_address(server, echo)
    watch.run("toy.py", "fetch", "toy", "--raw", watch.folder / "raw", "--dry-run", "--json",
              fails=False, TOY_URL=url)  # fmt: skip
    assert watch.leaks == []


def test_a_password_stays_with_its_host(
    watch: Watch, server: FaultyServer, other: OtherHost
) -> None:
    away = always(b"", 302, {"Location": f"{other.url}/toy.csv"})
    fetch(watch, secret_address(server, away))
    assert other.requests, "a redirect on this machine is followed"
    assert not [request for request in other.requests if is_leak(request)]


def test_a_password_of_a_proxy(watch: Watch, other: OtherHost) -> None:
    """A proxy that refuses: its address, with the password, is in the libraries' errors."""
    proxy = other.url.replace("://", f"://user:{PASSWORD}@")
    for options in ([], ["--debug"]):  # a traceback shows what a message does not
        fetch(watch, "https://192.0.2.1/toy.csv", *options, HTTPS_PROXY=proxy, https_proxy=proxy)


def test_the_address_of_a_wiki_holds_no_secret(watch: Watch, server: FaultyServer) -> None:
    for api in (
        f"http://user:{PASSWORD}@127.0.0.1:{server.port}/api.php",
        f"http://127.0.0.1:{server.port}/api.php?token={PASSWORD}",
    ):
        done = watch.meadow(
            "fetch", "wikidoc", "--raw", watch.folder / "raw", "--contact", "a@example.org",
            "--api", api,
        )  # fmt: skip
        assert done.returncode == 2
        assert "--api" in done.stderr
    assert watch.leaks == []
