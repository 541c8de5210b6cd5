"""Runs: files, resume after a kill at any point, several processes, cuts, modes, callback."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.backend import Batches
from evaluation.journal import Journal
from evaluation.modes import parse_modes
from evaluation.questions import Framing, ask, fit
from evaluation.run import Settings, letter_accuracy, run
from evaluation.trie import Score
from meadow.atomic import locked
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, LockedError, UsageError
from meadow.exams.items import ExamItem
from meadow.prompt import EXAM_CUE

MODES = "letter,option,text,text_pmi,generate"


def load(folder: Path) -> Any:
    from evaluation.local import load

    return load(str(folder), budget=2000)


def settings(modes: str = MODES, **framing: Any) -> Settings:
    return Settings(
        "usmle_self_assessment", parse_modes(modes), Framing(**framing), max_new_tokens=6
    )


@pytest.fixture(scope="module")
def items(sample_items) -> list[ExamItem]:
    return sample_items[:12]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, random_folder, items) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(load(random_folder), items, settings(), out)
    return out


def test_the_files_of_a_run(whole, items) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert {"exam", "n", "n_truncated", "n_unscorable", "modes", "chance"} <= set(summary)
    assert summary["n"] == len(items)
    assert list(summary["modes"]) == list(parse_modes(MODES))
    for cell in summary["modes"].values():
        assert cell["ci95"][0] <= cell["accuracy"] <= cell["ci95"][1]
        assert cell["n"] == len(items)
    table = read_parquet(whole / "predictions.parquet")
    needed = ["item_id", "mode", "labels", "logliks", "pred", "gold", "correct", "n_tokens",
              "truncated"]  # fmt: skip
    assert set(needed) <= set(table.column_names)
    assert table.num_rows == len(items) * len(summary["modes"])
    for row in table.to_pylist():
        if row["logliks"] is not None:
            best = row["labels"][row["logliks"].index(max(row["logliks"]))]
            assert row["pred"] == best
        assert row["correct"] == (row["pred"] == row["gold"])
    document = json.loads((whole / "run.json").read_text())
    assert document["work"]["scorer"] == ["trie"]
    assert document["model"]["weights"]
    assert document["prompts_sha256"]
    assert read_parquet(whole / "items.parquet").num_rows == len(items)


def test_a_finished_run_computes_nothing_again(whole, random_folder, items, monkeypatch) -> None:
    before = (whole / "predictions.parquet").read_bytes()
    backend = load(random_folder)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    for name in ("plan", "score", "generate"):
        monkeypatch.setattr(backend, name, never)
    cost = json.loads((whole / "run.json").read_text())["cost"]
    assert cost["scoring"]["tokens"] < cost["scoring"]["plain_tokens"]
    assert cost["generate"]["new_tokens"] <= 6 * len(items) < cost["generate"]["prompt_tokens"]
    run(backend, items, settings(), whole)
    assert (whole / "predictions.parquet").read_bytes() == before
    assert json.loads((whole / "run.json").read_text())["cost"] == cost


class Killed(Exception):
    """Stands in for SIGKILL inside one process."""


@pytest.mark.parametrize("point", [0, 2, 4, 5])
def test_a_run_killed_in_the_middle_of_a_write_continues_to_the_same_bytes(
    tmp_path, whole, random_folder, items, monkeypatch, point
) -> None:
    backend = load(random_folder)
    plain = Journal.append
    calls = [0]

    def dying(self: Journal, values: dict[str, Any]) -> None:
        if calls[0] == point:
            lines = "".join(
                json.dumps({"run": self.run, "unit": u, "value": v}) + "\n"
                for u, v in values.items()
            )
            with self.path.open("a") as file:  # part of the batch, the last line torn
                file.write(lines[: max(1, len(lines) * point // 6)])
            raise Killed
        calls[0] += 1
        plain(self, values)

    monkeypatch.setattr(Journal, "append", dying)
    with pytest.raises(Killed):
        run(backend, items, settings(), tmp_path)
    assert not (tmp_path / "run.json").exists()
    monkeypatch.setattr(Journal, "append", plain)
    run(load(random_folder), items, settings(), tmp_path)
    expected = (whole / "predictions.parquet").read_bytes()
    assert (tmp_path / "predictions.parquet").read_bytes() == expected


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_process_groups_give_the_same_predictions(
    root, tmp_path, whole, random_folder, size
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "meadow", "eval", "run", "--model", str(random_folder),
               "--exam", "sample", "--limit", "12", "--modes", MODES, "--max-new-tokens", "6",
               "--batch-tokens", "2000", "--out", str(tmp_path)]  # fmt: skip
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen(command, cwd=root, env={**os.environ, **shared, "OMP_NUM_THREADS": "1",
                                                 "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(size)
    ]  # fmt: skip
    assert [process.wait(280) for process in children] == [0] * size
    assert all((tmp_path / f"journal.{rank}.jsonl").stat().st_size for rank in range(size))
    expected = (whole / "predictions.parquet").read_bytes()
    assert (tmp_path / "predictions.parquet").read_bytes() == expected


def test_another_run_in_the_folder_and_a_folder_in_use_are_refused(whole, local, items) -> None:
    with pytest.raises(UsageError, match="another run"):
        run(local(), items, settings("letter"), whole)
    with locked(whole), pytest.raises(LockedError):
        run(local(), items, settings("letter"), whole)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path) -> None:
    journal = Journal(tmp_path, "k")
    journal.append({"a": 1})
    journal.path.write_text("broken\n" + journal.path.read_text())
    with pytest.raises(FileError, match=r"journal\.0\.jsonl:1|broken"):
        Journal(tmp_path, "k").load()


def test_the_callback_score_is_the_runs(tmp_path, random_model, local, items) -> None:
    model, tokenizer = random_model
    model.train()
    light = letter_accuracy(model, tokenizer, items)
    assert model.training
    summary = run(local(), items, settings("letter"), tmp_path)
    assert model.training
    model.eval()
    cell = summary["modes"]["letter"]
    assert (light["accuracy"], light["ci95"], light["n"]) == (
        cell["accuracy"], cell["ci95"], cell["n"])  # fmt: skip


def test_what_is_too_long_loses_the_stem_first_and_never_the_options(local, sample_items) -> None:
    backend = local()
    item = sample_items[0]
    (question,) = ask(item, Framing())
    seen = []
    for limit in range(1024, 20, -17):
        found = fit(question, Framing(), limit, backend.count)
        if not found.scorable:
            break
        seen.append(found.lost)
        tail = "".join(f"\n{label}: {text}" for label, text in item.options)
        assert tail in found.context
        assert found.context.endswith(EXAM_CUE)
        longest = max((f" {label}: {text}" for label, text in item.options),
                      key=backend.count)  # fmt: skip
        assert backend.count(found.context + longest) - 1 <= limit
        if found.lost == "stem":
            start = question.context.index(item.question)
            assert found.context.startswith(question.context[:start])
    assert list(dict.fromkeys(seen)) == ["", "stem", "instruction"]
    assert not found.scorable


def test_examples_go_before_the_stem(local, sample_items) -> None:
    backend = local()
    framing = Framing(shots=tuple(sample_items[10:12]))
    (question,) = ask(sample_items[0], framing)
    limit = backend.count(question.context) - 20
    found = fit(question, framing, limit, backend.count)
    assert found.lost == "shots"
    assert sample_items[0].question in found.context
    assert sample_items[10].question not in found.context
    assert sample_items[11].question in found.context


def test_unscorable_items_count_as_wrong(tmp_path, local, items) -> None:
    backend = local(max_length=90)
    summary = run(backend, items, settings("letter,text"), tmp_path)
    assert 0 < summary["n_unscorable"] <= len(items)
    assert summary["modes"]["letter"]["n"] == len(items)
    assert summary["modes"]["letter"]["length"]["unscorable"]["accuracy"] == 0.0
    assert summary["n_truncated"] + summary["n_unscorable"] == len(items)


class Indifferent:
    """A backend whose log-likelihood is of the text alone: the order cannot matter to it."""

    limit = tokenizer = None
    chat = False
    describe = work = dict
    count = len

    def plan(self, units: Any, *, cut_left: bool) -> Batches:
        return Batches(units, [(index,) for index in range(len(units))])

    def score(self, batches: Batches, index: int) -> Any:
        def score(text: str) -> Score:
            return Score(-hashlib.sha256(text.encode()).digest()[0] / 7, False, 1)

        return [[[score(text) for text in part.texts] for part in batches.units[index].parts]]


def test_option_order_does_not_matter_to_a_model_that_ignores_it(tmp_path, items) -> None:
    summary = run(Indifferent(), items, settings("text", permute="cyclic"), tmp_path)
    orders = summary["variants"]["text"]["orders"]
    assert orders["accuracy"] == pytest.approx(summary["modes"]["text"]["accuracy"])
    assert orders["consistent"] == 1.0
    assert (orders["n"], orders["scorings"]) == (len(items), sum(len(i.options) for i in items))


def test_variants_cost_one_row_per_item(tmp_path, local, items) -> None:
    backend = local()
    summary = run(backend, items, settings("letter", permute="cyclic", stem_blind=True), tmp_path)
    value = summary["variants"]["letter"]
    assert value["stem_blind"]["n"] == len(items)
    assert value["orders"]["scorings"] == sum(len(item.options) for item in items)
    rows = read_parquet(tmp_path / "predictions.parquet").to_pylist()
    for row in rows:
        assert sorted(row["order"]) == row["labels"]
        gold = next(i for i in items if i.item_id == row["item_id"]).answer
        assert row["order"][row["labels"].index(row["gold"])] == gold


def test_sampled_modes_are_seeded(tmp_path, local, items) -> None:
    backend = local()
    chosen = items[:2]
    made = [
        Settings("sample", parse_modes("generate_sc,cot,medalpaca_legacy"), seed=seed, samples=3,
                 max_new_tokens=5)
        for seed in (1, 1, 2)
    ]  # fmt: skip
    tables = []
    for index, one in enumerate(made):
        run(backend, chosen, one, tmp_path / str(index))
        tables.append(read_parquet(tmp_path / str(index) / "predictions.parquet").to_pylist())
    assert tables[0] == tables[1]
    assert [r["text"] for r in tables[0]] != [r["text"] for r in tables[2]]
    legacy = [row for row in tables[0] if row["mode"] == "medalpaca_legacy"]
    assert all(0 <= row["retries"] <= 4 for row in legacy)


def test_the_runs_key_holds_what_matters(items) -> None:
    made = [settings("letter"), settings("option"), settings("letter", template="short"),
            settings("letter", cut="left"), settings("letter", shots=(items[0],))]  # fmt: skip
    assert len({json.dumps(one.to_json()) for one in made}) == len(made)


def test_scores_stand_with_and_without_errata(local, sample_items, tmp_path) -> None:
    from evaluation.report import write_report

    items = sample_items[:6]
    what = settings("letter")
    plain = run(local(), items, what, tmp_path / "plain")
    assert "errata" not in plain
    assert "errata" not in plain["modes"]["letter"]
    picked = {row["item_id"]: row for row in
              read_parquet(tmp_path / "plain" / "predictions.parquet").to_pylist()}  # fmt: skip
    wrong = next(item for item in items if not picked[item.item_id]["correct"])
    gone = next(item for item in items if item is not wrong)
    corrected = {
        wrong.item_id: ("key", picked[wrong.item_id]["pred"]),
        gone.item_id: ("caseless", ""),
    }
    found = run(local(), items, what, tmp_path / "mended", corrected=corrected)
    cell = found["modes"]["letter"]
    assert cell["accuracy"] == plain["modes"]["letter"]["accuracy"]
    right = plain["modes"]["letter"]["correct"] + 1 - picked[gone.item_id]["correct"]
    assert (cell["errata"]["n"], cell["errata"]["correct"]) == (5, right)
    assert cell["errata"]["left_out"] == 1
    assert found["errata"] == {"caseless": 1, "key": 1}
    write_report([tmp_path / "mended"], tmp_path / "report")
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert "with the errata applied (caseless, key)" in text
