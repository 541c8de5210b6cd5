"""sources.lock.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meadow.errors import UsageError
from meadow.fetch.lockfile import LockEntry, read_lock, record, render

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
entries = st.builds(
    LockEntry,
    url=texts,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    size=st.integers(0, 2**60),
    member=texts,
    revision=texts,
)


@given(st.dictionaries(texts, entries, max_size=5))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lock: dict[str, LockEntry]
) -> None:
    path = tmp_path_factory.mktemp("lock") / "sources.lock.toml"
    path.write_text(render(lock), encoding="utf-8", newline="\n")
    assert read_lock(path) == lock
    assert render(dict(reversed(lock.items()))) == render(lock)
    assert tomllib.loads(render(lock))["version"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "version = ",
        "version = 2",
        "[files.a]\nurl = 'u'",
        'version = 1\n[files.a]\nurl = "u"\nsha256 = "zz"\nsize = 1',
        f'version = 1\n[files.a]\nurl = "u"\nsha256 = "{"0" * 64}"\nsize = "1"',
        f'version = 1\n[files.a]\nurl = "u"\nsha256 = "{"0" * 64}"\nsize = 1\nmore = 2',
    ],
)
def test_a_file_that_is_no_lock_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sources.lock.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="lock file cannot be read"):
        read_lock(path)


def test_runs_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "sources.lock.toml"
    script = (
        "import sys; from pathlib import Path\n"
        "from meadow.fetch.lockfile import LockEntry, record\n"
        "for i in range(20): record(Path(sys.argv[1]), f'{sys.argv[2]}/{i}', "
        "LockEntry('u', '0' * 64, i))"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [subprocess.Popen([*command, str(n)]) for n in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert len(read_lock(path)) == 80


def test_an_entry_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sources.lock.toml"
    record(path, "a", LockEntry("u", "0" * 64, 1))
    record(path, "a", LockEntry("u", "1" * 64, 2))
    assert read_lock(path) == {"a": LockEntry("u", "1" * 64, 2)}
