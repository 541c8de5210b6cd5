"""Report, comparison, export, rescoring and the paper's table, on real runs of a tiny model."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from evaluation.cli import compare as compare_command
from evaluation.cli import evaluate as eval_group
from evaluation.compare import compare
from evaluation.modes import parse_modes
from evaluation.paper import CHECKPOINTS
from evaluation.questions import Framing
from evaluation.report import browser, gather, render_page, write_report
from evaluation.results import Finished, read_run, read_runs, rescore
from evaluation.run import Settings, run
from evaluation.stats import tost
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import FileError, UsageError
from meadow.samples import FOLDER

HOSTILE = (
    "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
    "<a href='javascript:window.hit=1'>x</a>{{ 7*7 }}<!-- ]]> \u2028 &lt;b&gt; `|`"
)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, random_model, sample_items) -> tuple[Path, Path]:
    """The same questions by a model and by a disturbed copy of it, under a hostile name."""
    import copy

    import torch

    from evaluation.local import LocalBackend

    folder = tmp_path_factory.mktemp("runs")
    model, tokenizer = random_model
    other = copy.deepcopy(model)
    torch.manual_seed(4)
    for parameter in other.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    settings = Settings(
        "sample",
        parse_modes("letter,option,text,generate,medalpaca_legacy"),
        Framing(permute="reverse", stem_blind=True),
        max_new_tokens=4,
    )
    items = sample_items[:12]
    mix = folder / "mix"
    mix.mkdir()
    levels = [("stem", items[0]), ("stem+answer", items[0]), ("stem", items[1]), ("none", items[2])]
    write_parquet(
        pa.Table.from_pylist(
            [
                {"exam": "sample", "item_id": item.item_id, "row_id": "r", "level": level,
                 "score": 1.0, "matched": "x"}
                for level, item in levels
            ]
        ),
        mix / "contamination.parquet",
    )  # fmt: skip
    for name, one, label in (("a", model, "base"), ("b", other, HOSTILE)):
        backend = LocalBackend(one, tokenizer, identity={"name": label, "weights": name})
        run(backend, items, settings, folder / name, contamination=mix,
            command=["meadow", "eval", "run", "--model", label])  # fmt: skip
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def report(two_runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    a, b = (tmp_path_factory.mktemp("copies") / name for name in "ab")
    shutil.copytree(two_runs[0], a)
    shutil.copytree(two_runs[1], b)
    for folder in (a, b):  # hostile exam text and hostile responses
        tables = {n: read_parquet(folder / f"{n}.parquet") for n in ("items", "predictions")}
        rows = {name: table.to_pylist() for name, table in tables.items()}
        first, second, third, *_ = rows["items"]
        first |= {"question": HOSTILE, "options": [HOSTILE, *first["options"][1:]]}
        second["discipline"] = third["exclusion_reason"] = HOSTILE
        for row in rows["predictions"]:
            row["text"] = row["text"] and HOSTILE
        for name, table in tables.items():
            hostile = pa.Table.from_pylist(rows[name], schema=table.schema)
            write_parquet(hostile, folder / f"{name}.parquet")
    write_report([a, b], out)
    return out


class Tags(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_has_no_tag_or_address_of_others(report) -> None:
    page = (report / "report.html").read_text()
    parser = Tags()
    parser.feed(page)
    names = [tag for tag, _ in parser.tags]
    assert names.count("script") == 2
    assert not {"img", "a", "link", "iframe"} & set(names)
    for _, attributes in parser.tags:
        assert not {"src", "href", "onerror", "onclick", "style"} & set(attributes)
    (policy,) = [a["content"] for tag, a in parser.tags if tag == "meta" and "http-equiv" in a]
    assert str(policy).startswith("default-src 'none'")
    assert "unsafe-inline" not in page
    assert "49" not in re.findall(r"verdict\">.*?</p>", page, re.DOTALL)[0]


def test_the_page_says_what_a_reader_needs(report, two_runs) -> None:
    page = (report / "report.html").read_text()
    for heading in ("Scores and strata", "Paired comparison", "contamination: stem",
                    "What became of the responses", "Confidence and position",
                    "Option order and stem", "Whole, cut and unscorable", "Agreement of modes",
                    "Questions left out", "How to get these numbers again",
                    "The 2023 protocol beside the strict parser"):  # fmt: skip
        assert heading in page, heading
    text = (report / "report.md").read_text()
    assert "<script" not in text.replace("\\<", "")
    summary = json.loads((two_runs[0] / "summary.json").read_text())
    accuracy = f"{summary['modes']['letter']['accuracy']:.1%}"
    assert f"| base | letter | {accuracy} |" in text
    assert [part.count(": key ") for part in text.split("\n\n") if ": key " in part] == [1, 1]
    levels = summary["modes"]["letter"]["contamination"]
    assert {level: cell["n"] for level, cell in levels.items()} == {
        "none": 10, "stem": 1, "stem+answer": 1}  # fmt: skip
    assert "difference_ci95" in levels["stem"]


@pytest.mark.browser
def test_in_a_browser_nothing_runs_and_nothing_is_fetched(report, chromium) -> None:
    page = chromium.new_page()
    requests: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(f"file://{report}/report.html")
    assert page.inner_text("#count") == "12 of 12 questions"
    assert HOSTILE[:60] in page.inner_text("#items")
    page.select_option("#filter", "wrong")
    page.fill("#words", "hit=1")
    assert "of 12 questions" in page.inner_text("#count")
    assert page.evaluate("window.hit") is None
    assert requests == [f"file://{report}/report.html"]
    assert faults == []
    page.close()


@pytest.mark.browser
def test_a_thousand_questions_are_a_short_page_on_a_desk_and_on_a_phone(
    two_runs, tmp_path, chromium
) -> None:
    def many(run: Finished, name: str) -> Finished:
        ids = {f"{key[:-3]}{n:03}": key for n in range(84) for key in run.items}
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in run.rows:
            rows.setdefault(row["item_id"], []).append(row)
        return replace(
            run,
            name=name,
            rows=[{**row, "item_id": new} for new, old in ids.items() for row in rows[old]],
            items={new: {**run.items[old], "item_id": new} for new, old in ids.items()},
        )

    runs = [many(read_run(folder), name) for folder, name in zip(two_runs, "ab", strict=True)]
    (tmp_path / "report.html").write_text(render_page(gather(runs), browser(runs)))
    page = chromium.new_page(viewport={"width": 1300, "height": 850})
    page.goto(f"file://{tmp_path}/report.html")
    assert page.inner_text("#count") == "1008 of 1008 questions"
    height = "document.documentElement.scrollHeight"
    two = page.evaluate(height)
    (tmp_path / "one.html").write_text(render_page(gather(runs[:1]), browser(runs[:1])))
    page.goto(f"file://{tmp_path}/one.html")
    assert page.evaluate(height) < min(3000, two)
    page.goto(f"file://{tmp_path}/report.html")
    count = "document.querySelectorAll('#items .item').length"
    assert page.evaluate(count) < 50
    page.evaluate("document.getElementById('items').scrollTop = 1e6")
    page.wait_for_function(f"{count} > 50")  # the page hears of a scroll and of an opened
    assert page.evaluate(count) < 100  # item a task later: the next ones, and not all
    for order, sign in (("most", -1), ("least", 1)):
        page.select_option("#sort", order)
        sure = [int(s) for s in re.findall(r"(\d+) % sure", page.inner_text("#items"))]
        first = [sign * value for value in sure[::2]]  # of the first run
        assert first == sorted(first)
    page.click("#items .item summary >> nth=0")
    page.wait_for_selector("#items .item table")
    said = page.inner_text("#items .item >> nth=0")
    assert re.search(r"letter\s.*scored\s.*A -\d+\.\d\d, B .*; margin \d", said)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    cell = page.locator("td[data-label='p (Holm)']").first
    assert cell.is_visible()
    assert "p (Holm)" in cell.evaluate("e => getComputedStyle(e, '::before').content")
    page.close()


def test_compare_is_paired(two_runs) -> None:
    result = CliRunner().invoke(compare_command, [*map(str, two_runs), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    a, b = read_runs(list(two_runs))
    cell = document["modes"]["letter"]
    left, right = a.correct("letter"), b.correct("letter")
    assert cell["only_a"] == sum(left[k] and not right[k] for k in left)
    assert cell["only_b"] == sum(right[k] and not left[k] for k in left)
    assert cell["difference"] == pytest.approx((cell["only_b"] - cell["only_a"]) / cell["n"])
    assert cell["p_holm"] >= cell["p"]
    assert document["tests"] == len(document["modes"])
    assert len(cell["flips"]) == cell["only_a"] + cell["only_b"]
    for flip in cell["flips"]:
        assert (flip["a"] == flip["gold"]) != (flip["b"] == flip["gold"])
    equal = cell["equivalence"]
    same = [0.0] * (cell["n"] - cell["only_a"] - cell["only_b"])
    moved = [-1.0] * cell["only_a"] + [1.0] * cell["only_b"] + same
    assert equal == {"margin": 0.01, "p": pytest.approx(tost(moved, 0.01))}


def test_two_forms_of_one_model_are_tied_to_their_hashes(
    random_folder, sample_items, tmp_path
) -> None:
    from evaluation.local import load

    run_of = {"recipe_hash": "r", "plan_hash": "p", "base": {"name": "random"}}
    for name, noted in (("trained", None), ("exported", {"dtype": "float32", "merged": True})):
        shutil.copytree(random_folder, tmp_path / name)
        document = run_of | ({"export": noted} if noted else {})
        (tmp_path / name / "run_manifest.json").write_text(json.dumps(document))
    settings = Settings("sample", ("letter",))
    for name, folder, dtype in (
        ("a", "trained", "float32"), ("b", "trained", "bfloat16"), ("c", "exported", "float32"),
    ):  # fmt: skip
        backend = load(str(tmp_path / folder), dtype=dtype)
        run(backend, sample_items[:12], settings, tmp_path / f"run-{name}")
    a, b, c = (str(tmp_path / f"run-{name}") for name in "abc")
    said = CliRunner().invoke(compare_command, [a, b, "--margin", "99"]).stdout
    equal = r"the bfloat16 form equals trained \(float32\) within 99 points \(TOST p .*\),"
    assert re.search(equal, said)
    manifest = hashlib.sha256((tmp_path / "trained/run_manifest.json").read_bytes()).hexdigest()
    weights = read_run(Path(a)).run["model"]["weights"]
    assert f"weights {weights[:16]}, manifest a {manifest[:16]}, manifest b {manifest[:16]}" in said
    said = CliRunner().invoke(compare_command, [a, c, "--margin", "99"]).stdout
    assert "the export of exported in float32 equals trained as it was trained within" in said
    pair = compare(read_runs([Path(a), Path(c)]))
    assert pair["forms"]["proof"]["manifest_b"] != pair["forms"]["proof"]["manifest_a"] == manifest
    (tmp_path / "run-c/run.json").write_text(
        (tmp_path / "run-c/run.json").read_text().replace('"trained": {', '"other": {')
    )
    assert compare(read_runs([Path(a), Path(c)]))["forms"] is None


def test_equal_runs_are_called_equal_and_flips_are_listed(two_runs) -> None:
    asked = [*map(str, two_runs), "--margin", "99", "--flips"]
    result = CliRunner().invoke(compare_command, asked)
    assert result.exit_code == 0, result.output
    assert re.search(r"equals base within 99 points \(TOST p .*\), \d+ flips", result.stdout)
    document = json.loads(CliRunner().invoke(compare_command, [*asked, "--json"]).stdout)
    flips = sum(len(cell["flips"]) for cell in document["modes"].values())
    assert flips == len(re.findall(r"(?m)^  \w+ \S+ -> \S+, right is [A-E]$", result.stdout)) > 0


def test_prompts_that_differ_are_said(two_runs) -> None:
    a, b = read_runs(list(two_runs))
    assert not any("prompts" in text for text in compare([a, b])["warnings"])
    for row in b.rows[:1]:
        row["prompt"] += "!"
    assert "prompts of 1 questions differ" in compare([a, b])["warnings"]


def test_runs_that_cannot_be_compared(two_runs, tmp_path) -> None:
    a, b = read_runs(list(two_runs))
    with pytest.raises(UsageError, match="two runs"):
        compare([a])
    b.summary["exam"] = "other"  # type: ignore[index]
    with pytest.raises(UsageError, match="several exams"):
        compare([a, b])
    with pytest.raises(FileError, match="not a finished run"):
        read_run(tmp_path)


def test_export_is_lm_evals_form(two_runs, tmp_path) -> None:
    import yaml

    result = CliRunner().invoke(eval_group, ["export", str(two_runs[0]), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (results,) = tmp_path.glob("results_*.json")
    document = json.loads(results.read_text())
    summary = json.loads((two_runs[0] / "summary.json").read_text())
    assert (
        document["results"]["sample_letter"]["acc,none"] == (summary["modes"]["letter"]["accuracy"])
    )
    (samples,) = tmp_path.glob("samples_sample_letter_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(rows) == 12
    assert sum(row["acc"] for row in rows) == summary["modes"]["letter"]["correct"]
    assert {"doc_id", "doc", "target", "resps", "filtered_resps", "doc_hash"} <= set(rows[0])
    index = yaml.safe_load((tmp_path / "model-index.yml").read_text())["model-index"]
    metrics = [m for r in index[0]["results"] for m in r["metrics"]]
    assert "accuracy (letter)" in {metric["name"] for metric in metrics}


def test_export_is_a_record_of_every_eval_ever(two_runs, tmp_path) -> None:
    """Read and written by hand against version 0.3.0; the store's own folders and file names."""
    result = CliRunner().invoke(eval_group, ["export", str(two_runs[1]), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (record,) = (tmp_path / "data").glob("*/*/*/*.json")
    document = json.loads(record.read_text())
    summary = json.loads((two_runs[1] / "summary.json").read_text())
    assert document["schema_version"] == "0.3.0"
    scores = {r["evaluation_name"]: r["score_details"] for r in document["evaluation_results"]}
    for mode, cell in summary["modes"].items():
        assert scores[f"sample_{mode}"]["score"] == cell["accuracy"]
        interval = scores[f"sample_{mode}"]["uncertainty"]["confidence_interval"]
        assert [interval["lower"], interval["upper"]] == cell["ci95"]
    detail = document["detailed_evaluation_results"]
    assert re.fullmatch(
        r"data/[^/]+/[^/]+/[^/]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
        r"_samples\.jsonl",
        detail["file_path"],
    )
    data = (tmp_path / detail["file_path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == detail["checksum"]
    rows = [json.loads(line) for line in data.splitlines()]
    assert len(rows) == detail["total_rows"] == 12 * len(summary["modes"])
    right = sum(r["evaluation"]["is_correct"] for r in rows
                if r["evaluation_name"] == "sample_letter")  # fmt: skip
    assert right == summary["modes"]["letter"]["correct"]
    assert {row["evaluation_id"] for row in rows} == {document["evaluation_id"]}
    strings = [document["model_info"]["additional_details"], *(row["metadata"] for row in rows)]
    assert all(isinstance(value, str) for table in strings for value in table.values())


def test_rescore_needs_no_model(two_runs, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "run"
    shutil.copytree(two_runs[0], folder)
    before = (folder / "predictions.parquet").read_bytes()
    document = rescore(folder)
    assert document["responses"] == 24
    assert document["changed"] == []
    assert (folder / "predictions.parquet").read_bytes() == before
    monkeypatch.setattr("evaluation.generate.parse", always_a)
    changed = rescore(folder)["changed"]
    assert changed
    rows = read_parquet(folder / "predictions.parquet").to_pylist()
    assert {row["pred"] for row in rows if row["mode"] == "generate"} == {"A"}
    summary = json.loads((folder / "summary.json").read_text())
    gold = [row["gold"] == "A" for row in rows if row["mode"] == "generate"]
    assert summary["modes"]["generate"]["correct"] == sum(gold)


def always_a(response: str, options: Any, *, at_limit: bool = False) -> Any:
    from meadow.exams.answers import Parsed, Status

    return Parsed("A", "test", response, Status.PARSED)


def test_the_papers_table_says_what_was_not_run(random_folder, tmp_path) -> None:
    assert len(CHECKPOINTS) == 12
    arguments = ["paper", "--out", str(tmp_path), "--json"]
    exam = FOLDER / "exam"
    result = CliRunner().invoke(eval_group, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {row["status"] for row in rows} == {"not run"}
    assert rows[9]["published"]["step3"]["accuracy"] == 0.602
    result = CliRunner().invoke(
        eval_group,
        [*arguments, "--run", "medalpaca-7b", "--model", f"medalpaca-7b={random_folder}",
         "--file", str(exam), "--modes", "letter", "--limit", "20"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["key"] for row in rows if row["status"] == "run"] == ["medalpaca-7b"]
    assert rows[3]["run"]["modes"]["letter"]["steps"]["step1"]["n"] == 18
    shown = CliRunner().invoke(eval_group, ["paper", "--out", str(tmp_path)]).stdout
    assert shown.count("not run | not run | not run") == 11
    assert "ours, letter, first 20 questions" in shown


def test_runs_are_named_by_their_recipe_and_by_what_sets_them_apart(two_runs, tmp_path) -> None:
    folders = []
    for name, template, key in (("x", "short", "a"), ("y", "chat", "b"), ("z", "chat", "c")):
        shutil.copytree(two_runs[0], tmp_path / name)
        document = json.loads((tmp_path / name / "run.json").read_text())
        document["model"]["trained"] = {"recipe": "tiny"}
        document["settings"]["framing"]["template"] = template
        document["key"] = key * 64
        (tmp_path / name / "run.json").write_text(json.dumps(document))
        folders.append(tmp_path / name)
    assert read_run(folders[0]).name == "tiny"
    assert [run.name for run in read_runs(folders[:2])] == ["tiny (short)", "tiny (chat)"]
    named = ["tiny (short)", "tiny (chat) bbbbbb", "tiny (chat) cccccc"]
    assert [run.name for run in read_runs(folders)] == named
