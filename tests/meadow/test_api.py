"""The public API: its names, its types, its examples, and what it does not import."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import meadow
from meadow.samples import FOLDER as SAMPLES

HOMES = {"LICENSES": "meadow.licenses", "SOURCES": "meadow.sources"}
"""Constants have no docstring of their own: their module's holds the example."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: `corpus` and `named` are built by the first two."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize(
    "name", sorted(meadow.__all__, key=lambda name: name not in ("build", "open_corpus"))
)
def test_the_example_of_every_public_name_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    home: Any = sys.modules[HOMES[name]] if name in HOMES else getattr(meadow, name)
    text = inspect.getdoc(home) or ""
    example = doctest.DocTestParser().get_doctest(text, {"meadow": meadow}, name, None, 0)
    assert example.examples
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example)
    assert result.failed == 0, capsys.readouterr().out


@pytest.fixture(scope="module")
def medqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples of a corpus' methods run: `corpus` and a `mix` of it."""
    folder = tmp_path_factory.mktemp("methods")
    corpus = meadow.build(["medqa"], raw=SAMPLES, out=folder / "corpus")
    meadow.mix("clean", corpus=corpus, out=folder / "mix")
    return folder


METHODS = [name for name, value in vars(meadow.Corpus).items() if ">>>" in (value.__doc__ or "")]


@pytest.mark.parametrize("name", METHODS)
def test_the_example_of_every_method_of_a_corpus_runs(
    name: str, medqa: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(medqa)
    text = inspect.getdoc(getattr(meadow.Corpus, name)) or ""
    example = doctest.DocTestParser().get_doctest(text, {"meadow": meadow}, name, None, 0)
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example)
    assert result.failed == 0, capsys.readouterr().out


def test_a_function_is_not_hidden_by_the_room_of_its_name() -> None:
    code = """
import meadow, meadow.build.worker, meadow.mix.write, meadow.rephrase.items
from meadow.build import plan
from meadow.build.worker import build_source
from meadow import build as imported
for name in ("build", "mix", "rephrase"):
    assert getattr(meadow, name).__module__ == "meadow.api", name
assert imported is meadow.build
assert plan.plan_build is not meadow.build
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_import_is_light_and_knows_its_names() -> None:
    heavy = {"polars", "pydantic", "pyarrow", "torch", "pandas", "datasets"}
    help_ = "from meadow.cli.app import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    for used in ("import meadow; dir(meadow)", "import meadow.cli.app", help_):
        code = f"{used}\nimport sys\nassert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert {name for name in dir(meadow) if not name.startswith("__")} == set(meadow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        meadow.nothing  # noqa: B018


def test_the_types_are_those_that_mypy_sees(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import meadow\n"
        "import meadow.build.worker\n"
        'reveal_type(meadow.open_corpus("x"))\n'
        'reveal_type(meadow.build(["medqa"], files={"medqa": "x"}, out="y"))\n'
        "reveal_type(meadow.SOURCES)\n"
        'meadow.mix("demo", corpus=7, out="y")\n'
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", script],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    revealed = [line.partition("Revealed type is ")[2] for line in ran.stdout.splitlines()]
    assert [text for text in revealed if text] == [
        '"meadow.corpus.folder.Corpus"',
        '"meadow.corpus.folder.Corpus"',
        '"typing.Mapping[str, meadow.source.Source]"',
    ], ran.stdout
    assert 'Argument "corpus" to "mix" has incompatible type "int"' in ran.stdout


def test_check_and_report_take_an_address_as_show_does(medqa: Path, tmp_path: Path) -> None:
    """What is elsewhere is not written to: its report goes to a folder that is named."""
    address = f"file://{tmp_path}/store/corpus"
    meadow.build(["medqa"], raw=SAMPLES, out=address)
    assert meadow.check(address) == []
    with pytest.raises(meadow.MeadowError, match="--out DIR"):
        meadow.report(address)
    found = meadow.report(address, out=tmp_path / "report")
    assert found["rows"] == len(meadow.open_corpus(medqa / "corpus"))
    assert (tmp_path / "report" / "report.html").is_file()
