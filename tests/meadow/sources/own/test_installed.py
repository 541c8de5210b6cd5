"""Sources of other packages: found by their entry points, and understood where they are not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import meadow
from meadow.errors import MeadowError, UsageError
from meadow.quality.check import check_corpus
from meadow.sources import SOURCES, with_own
from meadow.sources.own.installed import installed, installed_source

CODE = """
from pathlib import Path
from meadow.readers import json_rows
from meadow.schema import Task, make_record
from meadow.source import File, Origin, Source

def convert(raw, options):
    yield make_record(
        source="coded", key=(raw["q"],), instruction="Answer.", input=raw["q"], output=raw["a"],
        task=Task.OPEN_QA, license="cc0-1.0",
    )

SOURCE = Source(
    name="coded", title="Coded", homepage="https://x.example", citation="X", license="cc0-1.0",
    free_text=True, prose="By code.",
    upstream=Origin((File("*.jsonl"),), json_rows.read_lines, convert),
)
TOML = Path(__file__).with_name("told.toml")
"""
TOLD = """name = "told"
title = "Told"
license = "cc0-1.0"
free_text = false
[read]
format = "jsonl"
[row]
task = "open_qa"
instruction = "Answer."
input = "{q}"
output = "{a}"
"""
POINTS = """[medical_meadow.sources]
coded = own_package.code:SOURCE
told = own_package.code:TOML
broken = own_package.broken:SOURCE
misnamed = own_package.code:SOURCE
nothing = own_package.code:CODE
medqa = own_package.broken:SOURCE
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with sources, which can be taken away."""
    site = tmp_path / "site"
    (site / "own_package").mkdir(parents=True)
    for name, text in {
        "own_package/__init__.py": "",
        "own_package/code.py": CODE,
        "own_package/told.toml": TOLD,
        "own_package/broken.py": "raise ImportError('no module named nowhere')\n",
        "own_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
        "own_package-1.0.dist-info/entry_points.txt": POINTS,
    }.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "q.jsonl").write_text('{"q": "What? a@b.example", "a": "That."}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    yield site
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]
    installed.cache_clear()
    installed_source.cache_clear()


def test_a_folder_is_understood_where_the_package_is_not(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    corpus = meadow.build(files={"coded": "q.jsonl", "told": "q.jsonl"}, out="corpus")
    assert {"coded", "told", "broken"} <= set(SOURCES)
    assert corpus.rows() == 2
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(package)])
    forget()
    assert "coded" not in SOURCES
    assert check_corpus(corpus.folder) == []
    mixed = meadow.mix("clean", corpus=corpus, out="mix")
    card = (mixed.folder / "README.md").read_text()
    assert "By code." in card
    assert "Searched, since people wrote freely there: coded." in card
    assert "The code of coded is in the package own 1.0." in card
    with pytest.raises(UsageError, match="in a package that is not installed: own"):
        meadow.build(own=["corpus"], files={"coded": "q.jsonl"}, out="again")
    again = meadow.build(own=["corpus"], files={"told": "q.jsonl"}, out="told")
    assert again.manifest.sources["told"] == corpus.manifest.sources["told"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "raises ImportError: no module named nowhere"),
        ("misnamed", "gives a source of the name 'coded'"),
        ("nothing", "raises AttributeError"),
    ],
)
def test_an_entry_point_that_is_broken_breaks_its_source_alone(
    package: Path, name: str, said: str
) -> None:
    forget()
    with pytest.raises(MeadowError, match=said) as fault:
        meadow.build([name], out="corpus")
    assert "own 1.0" in fault.value.where
    assert "uninstall" in fault.value.fix
    assert not Path("corpus").exists()
    assert SOURCES["medqa"].title.startswith("MedQA")  # a name of the house is the house's
    assert with_own({"medqa": {"package": "x"}})["medqa"] is SOURCES["medqa"]
