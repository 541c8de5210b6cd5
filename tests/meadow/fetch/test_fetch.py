"""Sources to raw files: what is known, what is recorded, what is done by hand, exit codes."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.faulty_server import (
    FakeClock,
    FaultyServer,
    Reply,
    Request,
    faulty_server,
    names,
    part_of,
)

from meadow.atomic import locked
from meadow.cli.fetch import fetch
from meadow.errors import (
    ExitCode,
    LockedError,
    MeadowError,
    UpstreamChangedError,
    UsageError,
)
from meadow.fetch.fetch import Fetcher, Item, State
from meadow.fetch.lockfile import NAME, LockEntry, read_lock
from meadow.source import File, Origin, OriginName, Source

CSV = b"question,answer\n" * 900


def make_source(*files: File, name: str = "toy") -> Source:
    origin = Origin(
        files=files, read=lambda inputs, options: iter(()), convert=lambda r, o: iter(())
    )
    return Source(name, "Toy", "https://example.org", "Nobody", "mit", False, upstream=origin)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "raw", tmp_path / NAME, FakeClock().policy())


def run(fetcher: Fetcher, source: Source) -> list[Item]:
    return list(fetcher.fetch(fetcher.plan(source)))


def test_the_first_fetch_records_and_later_ones_are_held_to_it(
    server: FaultyServer, fetcher: Fetcher
) -> None:
    url = server.route("/toy.csv", lambda request, count: part_of(CSV, request))
    source = make_source(File("toy.csv", url))
    (planned,) = fetcher.plan(source)
    assert (planned.state, planned.sha256, planned.size) == (State.FETCH, None, None)
    (done,) = run(fetcher, source)
    sha256 = hashlib.sha256(CSV).hexdigest()
    assert (done.state, done.sha256, done.size) == (State.FETCHED, sha256, len(CSV))
    assert read_lock(fetcher.lock) == {"toy/toy.csv": LockEntry(url, sha256, len(CSV))}
    lock = fetcher.lock.read_bytes()

    before = len(server.requests)
    (again,) = run(fetcher, source)
    assert again.state is State.AT_HAND
    assert len(server.requests) == before

    done.target.unlink()
    server.route("/toy.csv", lambda request, count: part_of(CSV[:-1] + b"!", request, etag='"2"'))
    with pytest.raises(UpstreamChangedError, match="wrong checksum"):
        run(fetcher, source)
    assert not done.target.exists()
    assert done.target.with_name("toy.csv.bad").exists()
    assert fetcher.lock.read_bytes() == lock


def test_a_changed_size_is_seen_before_the_bytes(server: FaultyServer, fetcher: Fetcher) -> None:
    url = server.serve(lambda request, count: part_of(CSV, request))
    with pytest.raises(UpstreamChangedError, match="14,400 bytes; 99 were expected"):
        run(fetcher, make_source(File("size.csv", url, size=99)))
    assert not list(fetcher.raw.rglob("size.csv"))


def test_an_entry_for_another_address_does_not_count(
    server: FaultyServer, fetcher: Fetcher
) -> None:
    old = server.serve(lambda request, count: part_of(CSV, request))
    new = server.serve(lambda request, count: part_of(CSV * 2, request))
    (done,) = run(fetcher, make_source(File("toy.csv", old)))
    done.target.unlink()
    run(fetcher, make_source(File("toy.csv", new)))
    assert read_lock(fetcher.lock)["toy/toy.csv"].size == 2 * len(CSV)


def test_a_wrong_file_at_hand_is_said_and_not_overwritten(
    server: FaultyServer, fetcher: Fetcher
) -> None:
    url = server.serve(lambda request, count: part_of(CSV, request))
    target = fetcher.raw / "toy" / "hand.csv"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    with pytest.raises(UpstreamChangedError, match="not the known one"):
        run(fetcher, make_source(File("hand.csv", url, sha256="0" * 64)))
    assert target.read_bytes() == b"mine"


def test_by_hand_optional_and_patterns(fetcher: Fetcher) -> None:
    source = make_source(
        File("deck*.apkg", by_hand="export a deck from Anki"),
        File("extra.csv", optional=True),
    )
    assert [item.state for item in run(fetcher, source)] == [State.BY_HAND, State.ABSENT]
    (fetcher.raw / "toy").mkdir(parents=True)
    (fetcher.raw / "toy" / "deck 1.apkg").write_bytes(b"x")
    assert [item.state for item in run(fetcher, source)] == [State.AT_HAND, State.ABSENT]


def test_the_folder_is_held_while_a_file_arrives(server: FaultyServer, fetcher: Fetcher) -> None:
    url = server.serve(lambda request, count: part_of(CSV, request))
    with locked(fetcher.raw / "toy"), pytest.raises(LockedError):
        run(fetcher, make_source(File("held.csv", url)))
    run(fetcher, make_source(File("held.csv", url)))


@pytest.mark.parametrize("made", ["", "empty/", "part"])
def test_a_run_that_fails_takes_away_the_folders_that_it_made_for_nothing(
    made: str, tmp_path: Path
) -> None:
    folder = tmp_path / "raw" / "toy"

    def fail() -> None:
        with locked(folder):
            if made.endswith("/"):
                (folder / made).mkdir()
            elif made:
                (folder / made).write_bytes(b"what has arrived")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (folder / "part").is_file() == folder.exists() == (made == "part")
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(KeyError):
        fail()
    assert folder.is_dir()  # it was there before


# -- a member of a remote archive ------------------------------------------------------------------


def cord19(size: int) -> bytes:
    """An archive like the CORD-19 release: something, the metadata, and much after it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, data in {
            "2022-06-02/changelog": b"x" * 5000,
            "2022-06-02/metadata.csv": CSV * 20,
            "2022-06-02/document_parses.tar.gz": os.urandom(size),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = cord19(40 * 2**20)
MEMBER = "2022-06-02/metadata.csv"


def test_a_member_is_streamed_and_the_rest_is_not_fetched(
    server: FaultyServer, fetcher: Fetcher
) -> None:
    pieces = [ARCHIVE[i : i + 65536] for i in range(0, len(ARCHIVE), 65536)]
    url = server.route(
        "/cord-19.tar.gz",
        lambda request, count: Reply(pieces, 200, {"ETag": '"a"'}, length=len(ARCHIVE)),
    )
    source = make_source(File("metadata.csv", url, member=MEMBER))
    before = server.sent
    (done,) = run(fetcher, source)
    assert done.target.read_bytes() == CSV * 20
    # The rest sits in the buffers of the two sockets at most.
    assert server.sent - before < len(ARCHIVE) / 2
    entry = read_lock(fetcher.lock)["toy/metadata.csv"]
    assert (entry.member, entry.size) == (MEMBER, len(CSV) * 20)
    assert done.sha256 == entry.sha256 == hashlib.sha256(CSV * 20).hexdigest()


def test_a_member_survives_cuts_and_a_server_that_starts_over(
    server: FaultyServer, fetcher: Fetcher
) -> None:
    def handle(request: Request, count: int) -> Reply:
        if count == 2:
            return Reply(ARCHIVE, 200, {"ETag": '"v1"'})
        return part_of(ARCHIVE, request, cut=300 if count < 2 else None)

    url = server.route("/cut.tar.gz", handle)
    (done,) = run(fetcher, make_source(File("metadata.csv", url, member=MEMBER)))
    assert done.target.read_bytes() == CSV * 20
    assert names(done.target.parent) == [".meadow.lock", "metadata.csv"]


@pytest.mark.parametrize(
    ("archive", "options", "message"),
    [
        (None, {"member": "other.csv"}, "no member"),
        (None, {"member": MEMBER, "max_size": 1000}, "more than the cap"),
        (Reply(ARCHIVE, cut=400), {"member": MEMBER}, "given up after 6 tries"),
    ],
)
def test_a_member_that_cannot_be_had_leaves_nothing(
    server: FaultyServer,
    fetcher: Fetcher,
    archive: Reply | None,
    options: dict[str, Any],
    message: str,
) -> None:
    reply = archive or Reply(cord19(1000))
    url = server.route("/worn.tar.gz", lambda request, count: reply)
    with pytest.raises(MeadowError, match=message):
        run(fetcher, make_source(File("metadata.csv", url, **options)))
    assert not (fetcher.raw / "toy").exists()


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Source]:
    import meadow.build.plan  # it keeps the sources that it was imported beside
    import meadow.sources

    table: dict[str, Source] = {}
    monkeypatch.setattr(meadow.sources, "SOURCES", table)
    monkeypatch.chdir(tmp_path)
    return table


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, expected faults mapped as `meadow` maps them."""
    result = CliRunner().invoke(fetch, arguments)
    if isinstance(result.exception, MeadowError):
        return result.exception.exit_code, result.stdout, f"{result.stderr}\n{result.exception}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_dry_run_sends_and_writes_nothing(
    server: FaultyServer, sources: dict[str, Source], tmp_path: Path
) -> None:
    url = server.serve(lambda request, count: part_of(CSV, request))
    sources["toy"] = make_source(
        File("toy.csv", url, size=1234),
        File("other.csv", url, max_size=5000),
        File("deck.apkg", by_hand="export a deck"),
    )
    before = len(server.requests)
    code, stdout, stderr = invoke("toy", "--raw", str(tmp_path / "raw"), "--dry-run", "--json")
    assert code == 0
    document = json.loads(stdout)
    assert [row["state"] for row in document["files"]] == ["to fetch", "to fetch", "by hand"]
    assert {row["license"] for row in document["files"]} == {"mit"}
    assert "1,234 bytes" in stderr
    assert "at most 5,000" in stderr
    assert "licence mit" in stderr
    assert "export a deck" in stderr
    assert str(tmp_path / "raw" / "toy" / "deck.apkg") in stderr
    assert len(server.requests) == before
    assert names(tmp_path) == []


def test_exit_codes_and_the_other_files_are_still_fetched(
    server: FaultyServer, sources: dict[str, Source], tmp_path: Path
) -> None:
    good = server.serve(lambda request, count: part_of(CSV, request))
    changed = server.serve(lambda request, count: part_of(CSV, request))
    sources["good"] = make_source(File("good.csv", good), name="good")
    sources["bad"] = make_source(
        File("bad.csv", changed, sha256="1" * 64), File("after.csv", good), name="bad"
    )
    sources["gone"] = make_source(
        File("gone.csv", f"http://127.0.0.1:{server.port}/no"), name="gone"
    )
    sources["deck"] = make_source(File("deck.apkg", by_hand="export a deck"), name="deck")
    raw = str(tmp_path / "raw")
    code, stdout, stderr = invoke("good", "--raw", raw, "--json")
    assert (code, json.loads(stdout)["files"][0]["state"]) == (0, "fetched")
    assert "in 1 · out 1" in stderr
    code, stdout, stderr = invoke("bad", "--raw", raw)
    assert code == ExitCode.UPSTREAM_CHANGED
    assert "expected 1111" in stderr
    assert (tmp_path / "raw" / "bad" / "after.csv").read_bytes() == CSV
    code, _, stderr = invoke("gone", "--raw", raw)
    assert code == ExitCode.FAILED
    assert "404" in stderr
    assert stderr.count("404") == 1
    assert "kept" not in stderr  # nothing arrived
    assert not (tmp_path / "raw" / "gone").exists()
    code, _, stderr = invoke("deck", "--raw", raw)
    assert code == ExitCode.FAILED
    assert "export a deck" in stderr
    code, _, stderr = invoke("goods", "--raw", raw)
    assert code == ExitCode.USAGE
    assert "did you mean 'good'" in stderr
    code, stdout, _ = invoke("good", "deck", "good", "--raw", raw, "--dry-run", "--json")
    assert [row["file"] for row in json.loads(stdout)["files"]] == ["good.csv", "deck.apkg"]
    assert set(read_lock(tmp_path / NAME)) == {"good/good.csv", "bad/after.csv"}


def test_every_listed_source_can_be_planned(tmp_path: Path) -> None:
    from meadow.sources import SOURCES

    fetcher = Fetcher(tmp_path / "raw", tmp_path / NAME)
    for source in SOURCES.values():
        for name in OriginName:
            try:
                origin = source.origin(name)
            except UsageError:
                continue
            items = list(fetcher.plan(source, name))
            assert len(items) == len(origin.files)
            for item in items:
                has_way = item.file.url is not None or item.file.by_hand or item.file.optional
                assert has_way, f"{item.key}: neither an address nor what to do by hand"
