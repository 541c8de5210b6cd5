"""The crawler against a server that behaves badly: what a real wiki cannot be told to do."""

import json
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner
from support.faulty_server import FakeClock, FaultyServer, Reply, Request, faulty_server

from meadow.cli.app import cli
from meadow.errors import ExitCode, FileError, NetworkError, UsageError
from meadow.fetch.crawler import STATE, STORE, crawl, repair_store, user_agent
from meadow.net.retry import RetryPolicy
from meadow.source import Wanted

CONTACT = "meadow@example.org"
TITLES = [f"Page {number}" for number in range(1, 8)]


class FakeWiki:
    """An api.php with seven pages, listed three at a time."""

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        self.faults: list[Reply] = []
        self.parsed: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.broken: set[str] = set()
        server.handlers = _Everything(self.answer)
        self.api = f"http://127.0.0.1:{server.port}/api.php"

    def answer(self, request: Request, count: int) -> Reply:
        if self.faults:
            return self.faults.pop(0)
        self.agents.add(request.headers.get("user-agent", ""))
        query = {k: v[0] for k, v in parse_qs(urlsplit(request.path).query).items()}
        if query.get("meta") == "siteinfo":
            general = {"server": "//127.0.0.1", "articlepath": "/wiki/$1"}
            return _json({"query": {"general": general}})
        if query["action"] == "parse":
            page = query["pageid"]
            self.parsed[page] += 1
            if page in self.broken:
                return _json({"error": {"code": "nosuchpageid", "info": "gone"}})
            return _json({"parse": {"text": f"<div class='mw-parser-output'>{page}</div>",
                                    "revid": 100 + int(page)}})  # fmt: skip
        name = query["list"]
        start = int(query.get("apcontinue", "0"))
        pages = [
            {"pageid": index + 1, "title": title}
            for index, title in enumerate(TITLES)
            if start <= index < start + 3
        ]
        answer: dict[str, object] = {"query": {name: pages}}
        if start + 3 < len(TITLES):
            answer["continue"] = {"apcontinue": str(start + 3), "continue": "-||"}
        return _json(answer)


class _Everything(dict):  # type: ignore[type-arg]
    def __init__(self, handler: object) -> None:
        super().__init__()
        self.handler = handler

    def get(self, path: str, default: object = None) -> object:
        return self.handler


def _json(value: object) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


@pytest.fixture
def wiki():
    with faulty_server() as server:
        yield FakeWiki(server)


def run(wiki: FakeWiki, folder: Path, *, clock: FakeClock | None = None, **options: object):
    policy = (clock or FakeClock()).policy(options.pop("policy", None))  # type: ignore[arg-type]
    limit = options.pop("max_pages", None)
    wanted = Wanted(wiki.api, max_pages=limit)  # type: ignore[arg-type]
    return crawl(wanted, folder, contact=CONTACT, policy=policy, **options)  # type: ignore[arg-type]


def stored(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / STORE).read_text("utf-8").splitlines()]


def test_a_whole_crawl_is_one_request_at_a_time_with_a_pause_and_a_contact(
    wiki: FakeWiki, tmp_path: Path
) -> None:
    clock = FakeClock()
    result = run(wiki, tmp_path, clock=clock)
    assert (result.fetched, result.stored, result.complete) == (7, 7, True)
    assert [page["title"] for page in stored(tmp_path)] == TITLES
    assert stored(tmp_path)[0]["url"] == "http://127.0.0.1/wiki/Page_1"
    assert wiki.agents == {user_agent(CONTACT)}
    assert CONTACT in user_agent(CONTACT)
    # 1 siteinfo + 3 lists + 7 pages, and a pause of a second between any two
    assert len(wiki.server.requests) == 11
    assert clock.waits == [1.0] * 10
    before = len(wiki.server.requests)
    assert run(wiki, tmp_path).fetched == 0
    assert len(wiki.server.requests) == before


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_stopped_anywhere_no_page_comes_twice(stop_at: int, wiki: FakeWiki, tmp_path: Path) -> None:
    def stop(count: int, title: str) -> None:
        if count == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(wiki, tmp_path, progress=stop)
    # a kill can leave half a line
    with (tmp_path / STORE).open("ab") as store:
        store.write(b'{"page_id": 99, "ti')
    assert run(wiki, tmp_path).complete
    assert [page["title"] for page in stored(tmp_path)] == TITLES
    assert set(wiki.parsed.values()) == {1}


def test_max_pages_is_a_limit_of_the_store(wiki: FakeWiki, tmp_path: Path) -> None:
    assert run(wiki, tmp_path, max_pages=4).stored == 4
    assert run(wiki, tmp_path, max_pages=4).fetched == 0
    assert run(wiki, tmp_path, max_pages=5).fetched == 1
    assert run(wiki, tmp_path).stored == 7
    assert set(wiki.parsed.values()) == {1}


def test_retry_after_is_obeyed_and_faults_are_retried(wiki: FakeWiki, tmp_path: Path) -> None:
    busy = json.dumps({"error": {"code": "maxlag", "info": "Waiting"}}).encode()
    wiki.faults = [
        Reply(b"", 429, {"Retry-After": "17"}),
        Reply(b"oops", 500),
        Reply(b'{"query"', cut=4, length=100),
        Reply(busy, 200, {"Retry-After": "5"}),
        Reply(b"", 503, reset=True),
    ]
    clock = FakeClock()
    assert run(wiki, tmp_path, clock=clock).complete
    assert 17.0 in clock.waits
    assert set(wiki.parsed.values()) == {1}


def test_a_server_that_asks_to_wait_too_long_or_is_gone_ends_the_crawl(
    wiki: FakeWiki, tmp_path: Path
) -> None:
    wiki.faults = [Reply(b"", 429, {"Retry-After": "86400"})]
    with pytest.raises(NetworkError, match="wait for 86400"):
        run(wiki, tmp_path)
    wiki.faults = [Reply(b"", 503)] * 20
    with pytest.raises(NetworkError, match="given up after 6 tries"):
        run(wiki, tmp_path)
    wiki.faults = []
    assert run(wiki, tmp_path).complete


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"<html>Welcome</html>"), "no JSON"),
        (Reply(b"[]"), "not an object"),
        (Reply(b"{}"), "not what its API documents"),
        (Reply(b"", 404), "answers 404"),
        (Reply(b"", 301, {"Location": "https://example.org"}), "answers 301"),
        (Reply(b"{" * 100_000), "no JSON"),
        (Reply((b"x" * (1 << 20) for _ in range(40)), length=-1), "over"),
    ],
)
def test_what_is_no_mediawiki_is_an_error(
    reply: Reply, message: str, wiki: FakeWiki, tmp_path: Path
) -> None:
    wiki.faults = [reply]
    with pytest.raises(NetworkError, match=message):
        run(wiki, tmp_path, policy=RetryPolicy(tries=2))
    assert stored(tmp_path) == []


def test_a_page_that_is_gone_is_recorded_and_not_asked_for_again(
    wiki: FakeWiki, tmp_path: Path
) -> None:
    from meadow.schema import Reason, Reject
    from meadow.source import Input, Options
    from meadow.sources.wikidoc.pages import read

    wiki.broken = {"3"}
    result = run(wiki, tmp_path)
    assert (result.fetched, result.failed) == (7, 1)
    run(wiki, tmp_path)
    assert wiki.parsed["3"] == 1
    rows = list(read([Input(tmp_path / STORE, STORE)], Options()))
    rejects = [row for row in rows if isinstance(row, Reject)]
    assert [reject.reason for reject in rejects] == [Reason.NOT_A_TARGET]
    assert "nosuchpageid" in rejects[0].detail


def test_a_store_is_for_one_crawl(wiki: FakeWiki, tmp_path: Path) -> None:
    run(wiki, tmp_path)
    with pytest.raises(UsageError, match="holds a crawl"):
        crawl(Wanted(wiki.api, prefix="A"), tmp_path, contact=CONTACT)
    (tmp_path / STATE).unlink()
    with pytest.raises(UsageError, match="without its state"):
        run(wiki, tmp_path)


def test_a_store_that_is_damaged_before_its_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / STORE
    path.write_bytes(b'{"page_id": 1}\nnot json\n{"page_id": 2}\n')
    with pytest.raises(FileError, match="damaged"):
        list(repair_store(path))
    path.write_bytes(b'{"page_id": 1}\n{"page_id": 2}')
    assert list(repair_store(path)) == [1]
    assert path.read_bytes() == b'{"page_id": 1}\n'


def test_http_to_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="https"):
        crawl(Wanted("http://example.org/api.php"), tmp_path, contact=CONTACT)


@pytest.mark.parametrize("contact", ["", "  ", "a@b\r\nX-Evil: 1"])
def test_no_contact_no_crawl(contact: str) -> None:
    with pytest.raises(UsageError, match="contact"):
        user_agent(contact)


def test_the_command_needs_a_contact_and_crawls_what_it_is_told(
    wiki: FakeWiki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meadow.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["meadow", "fetch", "wikidoc", "--raw", "raw"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.USAGE
    assert wiki.server.requests == []
    (tmp_path / "meadow.toml").write_text(f'contact = "{CONTACT}"\nraw = "raw"\n')
    arguments = ["fetch", "wikidoc", "--api", wiki.api, "--max-pages", "1", "--json"]
    planned = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert wiki.server.requests == []
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["crawled"]["wikidoc"]["stored"] == 1
    assert len(stored(tmp_path / "raw/wikidoc")) == 1
