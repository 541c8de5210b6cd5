"""Mixes: what stays and why, held to conservation, determinism and idempotence."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from itertools import pairwise
from operator import eq
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import run_meadow
from support.corpora import record, write_corpus

from meadow.api import open_corpus
from meadow.cli.mix import mix
from meadow.corpus.folder import Corpus
from meadow.errors import ExitCode, UsageError
from meadow.exams.contamination import remaining
from meadow.exams.items import load_exam
from meadow.mix import write
from meadow.mix.recipe import MixRecipe, Part, changed
from meadow.mix.select import Selection, draw, select_rows
from meadow.mix.write import mix_key, mix_settings, unchanged_mix, write_mix
from meadow.quality.check import check_corpus
from meadow.schema import Record, Task, dump_meta, join_turns, with_reasoning

WORDS = [f"word{n}" for n in range(500)]


def texts(draw_: random.Random, count: int, length: int = 30) -> list[str]:
    return [" ".join(draw_.choices(WORDS, k=length)) for _ in range(count)]


def medley(seed: int = 0) -> list[Record]:
    """Free and bound rows of several sources, with exact and near duplicates across them."""
    rng = random.Random(seed)
    answers = texts(rng, 60)
    rows = [record("medqa", n, text) for n, text in enumerate(answers[:20])]
    rows += [record("medquad", n, text) for n, text in enumerate(answers[20:40])]
    rows += [
        record("anki", n, text, license="user-supplied") for n, text in enumerate(answers[40:50])
    ]
    rows += [
        record("mmmlu", n, text, task=Task.MULTIPLE_CHOICE) for n, text in enumerate(answers[50:])
    ]
    for n in range(6):  # copies of medqa in medquad: half of them equal, half with a word changed
        text = answers[n] if n % 2 else answers[n].replace(" ", " extra ", 1)
        rows.append(record("medquad", 100 + n, text, input=f"question {n} of medqa"))
    return rows


def recipe(name: str = "test", **values: Any) -> MixRecipe:
    return named(MixRecipe(**({"validation": 0.2} | values)), name)


def named(value: MixRecipe, name: str) -> MixRecipe:
    value._file = Path(name)
    return value


def run(value: MixRecipe, corpus: Corpus, out: Path, **more: Any) -> tuple[Selection, Corpus]:
    selection = select_rows(value, [corpus], **more)
    exams, accepted = more.get("exams", {}), more.get("accepted", ())
    chosen = mix_settings(value, exams, accepted)
    write_mix(selection, value, [corpus], out, chosen, mix_key(chosen, [corpus], exams))
    return selection, open_corpus(out, verify=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".meadow.lock"
    }


def assert_conserved(selection: Selection, rows: int) -> None:
    assert selection.steps[0].rows_in == rows
    for step in selection.steps:
        assert step.rows_in == step.rows_out + sum(step.rejected.values())
    for before, after in zip(selection.steps, selection.steps[1:], strict=False):
        assert before.rows_out == after.rows_in
    assert (selection.copies > 0).sum() == selection.steps[-1].rows_out


def test_the_default_mix(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", medley())
    selection, made = run(recipe(), corpus, tmp_path / "mix")
    assert_conserved(selection, 66)
    steps = {step.name: step.rejected for step in selection.steps}
    assert steps["exams"] == {"not_a_target": 10}
    assert steps["licence"] == {"license": 10}
    assert steps["duplicates"] == {"duplicate": 3, "near_duplicate": 3}
    assert made.manifest.stage == "mix"
    assert set(made.manifest.splits()["test"]) == {"train", "validation"}
    frame = made.to_polars()
    assert frame.height == selection.steps[-1].rows_out == 40
    assert set(frame["license"]) == {"mit"}
    ledger = pl.read_parquet(tmp_path / "mix" / "duplicates.parquet")
    assert ledger.columns[:4] == ["kept_id", "dropped_id", "jaccard", "kind"]
    assert set(ledger["kept_id"]) <= set(frame["id"])
    assert not set(ledger["dropped_id"]) & set(frame["id"])
    assert ledger["jaccard"].min() >= 0.7
    assert pl.read_parquet(tmp_path / "mix" / "contamination.parquet").columns == [
        "exam", "item_id", "row_id", "level", "score", "aligned", "matched"
    ]  # fmt: skip
    assert check_corpus(tmp_path / "mix") == []
    # Idempotence: mixing the mix again drops nothing.
    again = select_rows(recipe(), [made])
    assert [step.rejected for step in again.steps] == [{}] * len(again.steps)


def test_licence_gate(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", medley())
    selection, made = run(recipe(), corpus, tmp_path / "mix", accepted=("anki",))
    assert (made.to_polars()["source"] == "anki").sum() == 10
    assert made.manifest.details["accepted_licences"] == ["anki"]
    assert made.manifest.details["publishable"] is False
    assert made.manifest.details["licence_gate"]["restricted_rows"] == {"anki": 10}
    free = select_rows(recipe(), [corpus])
    assert free.details["licence_gate"]["disputed"] == ["medqa"]
    assert free.details["publishable"] is False, "nobody has decided what medqa's licence covers"
    assert any("[vouch.medqa]" in line for line in free.warnings)
    assert any("--accept-licence anki" in line for line in free.warnings)
    parts = (Part(source="medquad"), Part(source="anki"))
    assert select_rows(recipe(parts=parts), [corpus]).details["publishable"] is True
    with pytest.raises(UsageError, match="unknown source: ankki"):
        select_rows(recipe(), [corpus], accepted=("ankki",))
    assert [line for line in selection.warnings if "disputed" not in line] == []


def test_rows_are_chosen_by_licence_and_task(tmp_path: Path) -> None:
    free = record("medquad", 200, "word1 word2", license="cc-by-sa-4.0", task=Task.DIALOGUE)
    bound = record("alpaca", 1, "word3 word4", license="cc-by-nc-4.0")
    corpus = write_corpus(tmp_path / "corpus", [*medley(), free, bound])

    def taken(**values: Any) -> dict[str, int]:
        selection, made = run(recipe(deduplicate="none", **values), corpus, tmp_path / str(values))
        assert_conserved(selection, 68)
        return dict(Counter(f"{row['source']} {row['license']}" for row in made))

    # nobody has decided what medqa's licence covers, and the decks have none
    assert taken(commercial=True) == {"medquad mit": 26, "medquad cc-by-sa-4.0": 1}
    assert taken(licences=("cc-by-sa-4.0", "cc-by-nc-4.0")) == {
        "medquad cc-by-sa-4.0": 1, "alpaca cc-by-nc-4.0": 1,
    }  # fmt: skip
    assert taken(tasks=("dialogue",)) == {"medquad cc-by-sa-4.0": 1}
    with pytest.raises(UsageError, match=r"unknown licence 'mti'.*did you mean 'mit'"):
        changed(recipe(), licences=["mti"])


def test_a_mix_of_no_rows_is_an_error_unless_all_are_held(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", [r for r in medley() if r.source == "anki"])
    arguments = ["clean", "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "mix")]
    for more in ([], ["--dry-run"]):
        ran = run_meadow("mix", *arguments, *more)
        assert ran.code == ExitCode.FAILED
        assert "no row is left (licence: license 10)" in ran.err
        assert "--accept-licence anki" in ran.err
        assert not (tmp_path / "mix").exists()
    ran = run_meadow(
        "mix", *arguments, "--accept-licence", "anki", "--keep-from", str(tmp_path / "corpus")
    )
    assert (ran.code, "held elsewhere 10" in ran.err) == (0, True)


def test_exam_sources_come_in_only_by_name(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", medley())
    left_out = select_rows(recipe(parts=(Part(source="mmmlu"),)), [corpus])
    assert left_out.steps[-1].rows_out == 0
    assert any("left out" in line for line in left_out.warnings)
    taken = select_rows(recipe(parts=(Part(source="mmmlu"),), exam_sources=("mmmlu",)), [corpus])
    assert taken.steps[-1].rows_out == 10
    assert any("do not score" in line for line in taken.warnings)


def test_quotas_weights_and_labels(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [record("medqa", n, text) for n, text in enumerate(texts(rng, 100))]
    labels = ["This is no advice", "This is a strong advice"]
    rows += [
        record("pubmed_causal", n, labels[n % 2], input=text, task=Task.CLASSIFICATION)
        for n, text in enumerate(texts(rng, 200))
    ]
    corpus = write_corpus(tmp_path / "corpus", rows)
    parts = (
        Part(source="medqa", quota=30, weight=2.5, expected=30),
        Part(source="pubmed_causal", labels={labels[0]: 0.0, labels[1]: 3.0, "no such label": 2.0}),
        Part(source="anki", expected=5),
    )
    selection, made = run(recipe(parts=parts), corpus, tmp_path / "mix")
    assert_conserved(selection, 300)
    frame = made.to_polars()
    copies = frame.group_by("source", "id").len()
    medqa = copies.filter(pl.col("source") == "medqa")["len"]
    assert len(medqa) == 30
    assert set(medqa) == {2, 3}
    causal = frame.filter(pl.col("source") == "pubmed_causal")
    assert set(causal["output"]) == {labels[1]}
    assert set(causal.group_by("id").len()["len"]) == {3}
    assert causal.height == 300
    details = made.manifest.details
    assert details["rows"]["repeats"] == frame.height - 130
    assert details["splits"]["train"] + details["splits"]["validation"] == frame.height
    assert sum("no such label" in line for line in selection.warnings) == 1
    assert any("anki: expected 5 rows" in line for line in selection.warnings)
    assert [part["met"] for part in selection.parts] == [True, None, False]


def test_one_quota_is_for_every_source_and_takes_what_was_reasoned_about_first(
    tmp_path: Path,
) -> None:
    rng = random.Random(4)
    rows = [record("medqa", n, text) for n, text in enumerate(texts(rng, 40))]
    shown = {row.id for row in rows[:6]}
    rows = [
        row._replace(output=with_reasoning("So it is.", row.output)) if row.id in shown else row
        for row in rows
    ]
    rows += [
        record("stack_exchange", n, text, subset=["health", "academia", None][n % 3])
        for n, text in enumerate(texts(rng, 24))
    ]
    corpus = write_corpus(tmp_path / "corpus", rows)
    wanted = recipe(quota=10, exclude=("stack_exchange/academia",), format="reasoning")
    selection, made = run(wanted, corpus, tmp_path / "mix")
    assert_conserved(selection, 64)
    assert {part["part"]: part["found"] for part in selection.parts} == {
        "medqa": 10, "stack_exchange": 10,
    }  # fmt: skip
    frame = made.to_polars()
    assert shown <= set(frame["id"])
    assert frame["reasoning"].drop_nulls().to_list() == ["So it is."] * 6
    assert "academia" not in frame["subset"]
    plain = select_rows(changed(wanted, format="messages"), [corpus])
    assert not shown <= {row.id for row, n in zip(rows, plain.copies, strict=True) if n}
    assert "At most 10 rows of each source" in (tmp_path / "mix/README.md").read_text()


def test_two_reasonings_make_no_two_questions_of_one(tmp_path: Path) -> None:
    (text,) = texts(random.Random(5), 1)
    thoughts = [" ".join(random.Random(n).choices(WORDS, k=90)) for n in (6, 7)]
    twins = [
        record(source, 1, with_reasoning(thought, text), input="the same question")
        for source, thought in zip(("medqa", "medquad"), thoughts, strict=True)
    ]
    bare = record("head_qa", 1, text, input="the same question")
    corpus = write_corpus(tmp_path / "corpus", [*twins, bare])
    selection = select_rows(recipe(validation=0.0), [corpus])
    assert selection.copies.sum() == 1
    kept = selection.duplicates["kept_id"].unique().to_list()
    assert kept[0] in {row.id for row in twins}, "one that shows its reasoning stays"


def test_subset_parts_come_before_source_parts(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [
        record("stack_exchange", n, text, subset=["health", "fitness", None][n % 3])
        for n, text in enumerate(texts(rng, 30))
    ]
    corpus = write_corpus(tmp_path / "corpus", rows)
    parts = (
        Part(source="stack_exchange"),
        Part(source="stack_exchange", subset="health", quota=4),
        Part(source="stack_exchange", subset="biology"),
    )
    selection = select_rows(recipe(parts=parts), [corpus])
    assert [part["found"] for part in selection.parts] == [20, 4, 0]
    assert any("stack_exchange/biology" in line for line in selection.warnings)


def test_sampling_is_a_hash_of_seed_and_id(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [record("medqa", n, text) for n, text in enumerate(texts(rng, 200))]
    parts = (Part(source="medqa", quota=50),)

    def chosen(records: list[Record], folder: str, **values: Any) -> set[str]:
        corpus = write_corpus(tmp_path / folder, records)
        copies = select_rows(recipe(parts=parts, **values), [corpus]).copies
        return {item.id for item, count in zip(records, copies, strict=True) if count}

    first = chosen(rows, "a")
    assert first != chosen(rows, "b", seed=1)
    fewer = {item.id for item in rows[:190]}
    assert first & fewer <= chosen(rows[:190], "c"), "what was drawn stays drawn"
    assert abs(sum(draw(0, "x", str(n)) for n in range(2000)) / 2000 - 0.5) < 0.02


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    deduplicate=st.sampled_from(["none", "exact", "near"]),
    quota=st.none() | st.integers(0, 30),
    weight=st.sampled_from([0.0, 0.4, 1.0, 2.2]),
    validation=st.sampled_from([0.0, 0.3]),
)
def test_conservation_and_determinism(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    deduplicate: str,
    quota: int | None,
    weight: float,
    validation: float,
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    corpus = write_corpus(folder / "corpus", medley(seed))
    parts = tuple(
        Part(source=name, quota=quota, weight=weight) for name in ("medqa", "medquad", "anki")
    )
    value = recipe(parts=parts, deduplicate=deduplicate, validation=validation, seed=seed)
    selection, made = run(value, corpus, folder / "one", accepted=("anki",))
    assert_conserved(selection, 66)
    assert made.rows() == selection.copies.sum()
    run(value, corpus, folder / "two", accepted=("anki",))
    assert contents(folder / "one") == contents(folder / "two")
    shutil.rmtree(folder)


def test_no_cluster_is_parted_even_when_duplicates_stay(tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = []
    for n, text in enumerate(texts(rng, 300)):
        rows.append(record("medqa", n, text))
        if n % 3 == 0:
            rows.append(record("medquad", n, f"{text} more", input=f"question {n} of medqa"))
    corpus = write_corpus(tmp_path / "corpus", rows)
    value = recipe(deduplicate="none", validation=0.3)
    selection, made = run(value, corpus, tmp_path / "mix")
    assert selection.steps[-1].rows_out == 400
    train = made.to_polars(split="train")
    held = made.to_polars(split="validation")
    assert 60 < held.height < 180
    both = set(train["input"]) & set(held["input"])
    assert not both, "near duplicates share their question here"


def test_chat_messages(tmp_path: Path) -> None:
    rows = [record("medqa", 1, "The answer."), record("medqa", 2, "Another.", input="")]
    corpus = write_corpus(tmp_path / "corpus", rows)
    _, made = run(recipe(format="messages", validation=0.0), corpus, tmp_path / "mix")
    first, second = made.to_polars().sort("source_id")["messages"].to_list()
    assert [tuple(turn.values()) for turn in first] == [
        ("user", "Answer the question.\n\nquestion 1 of medqa"), ("assistant", "The answer."),
    ]  # fmt: skip
    assert second[0]["content"] == "Answer the question."
    assert check_corpus(tmp_path / "mix") == []


def test_rows_stand_shuffled_by_the_seed_and_the_same_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(tmp_path / "corpus", medley())
    parts = tuple(Part(source=name, weight=2.0) for name in ("medqa", "medquad"))

    def made(name: str, **options: Any) -> list[str]:
        value = recipe(parts=parts, validation=0.2, **options)
        _, mix = run(value, corpus, tmp_path / name)
        assert check_corpus(tmp_path / name) == []
        return [f"{row['source']} {row['id']}" for row in mix.to_arrow(split="train").to_pylist()]

    by_source = made("source", order="source")
    assert by_source == sorted(by_source, key=lambda row: row.split()[0])
    assert by_source[0] == by_source[1], "repeats stand together"
    shuffled = made("shuffled")
    assert sorted(shuffled) == sorted(by_source)
    runs = sum(one.split()[0] != other.split()[0] for one, other in pairwise(shuffled))
    assert runs > len(shuffled) / 4, "about half of the neighbours are of another source"
    assert sum(map(eq, shuffled, shuffled[1:])) < len(shuffled) / 8
    assert made("other", seed=8) != shuffled
    monkeypatch.setattr(write, "SHUFFLED_ROWS", 7)
    assert made("dealt") == shuffled, "however many files the rows are dealt to"


def test_a_conversation_keeps_its_turns_in_order(tmp_path: Path) -> None:
    turns = ["My nose bleeds.\n\nAssistant: said nothing.", "Lean forward."]
    again = record("openassistant", 1, "See a doctor.", input=join_turns(turns))._replace(
        instruction="And if it goes on?",
        meta=dump_meta({"turns": [len(turn) for turn in turns]}),
    )
    lying = again._replace(id="0" * 32, source_id="2", meta='{"turns":[3,"x"]}', output="Other.")
    corpus = write_corpus(tmp_path / "corpus", [again, lying])
    value = recipe(format="messages", validation=0.0, deduplicate="none")
    _, made = run(value, corpus, tmp_path / "mix")
    one, other = made.to_polars().sort("source_id")["messages"].to_list()
    assert [turn["content"] for turn in one] == [*turns, "And if it goes on?", "See a doctor."]
    assert [turn["role"] for turn in one] == ["user", "assistant"] * 2
    assert len(other) == 2
    assert other[0]["content"] == f"And if it goes on?\n\n{lying.input}"


def test_a_conversation_is_not_parted_between_train_and_validation(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = []
    for n in range(200):
        question, answer, more, last = texts(rng, 4)
        turns = [question, answer]
        first = record("openassistant", 2 * n, answer, input="")._replace(instruction=question)
        second = record("openassistant", 2 * n + 1, last, input=join_turns(turns))
        meta = dump_meta({"turns": [len(turn) for turn in turns]})
        rows += [first, second._replace(instruction=more, meta=meta)]
    corpus = write_corpus(tmp_path / "corpus", rows)
    _, made = run(recipe(validation=0.3), corpus, tmp_path / "mix")
    held = {int(n) // 2 for n in made.to_polars(split="validation")["source_id"]}
    assert 30 < len(held) < 90
    assert not held & {int(n) // 2 for n in made.to_polars(split="train")["source_id"]}


def test_several_corpora_are_one_and_an_id_counts_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    said = texts(rng, 6)
    one = write_corpus(tmp_path / "one", [record("medqa", n, said[n]) for n in range(3)])
    rows = [record("medqa", n, said[n]) for n in (0, 3)]
    rows += [record("medqa", 1, "another answer"), record("medquad", 1, said[4])]
    other = write_corpus(tmp_path / "other", rows)
    out = tmp_path / "mix"
    words = ("mix", write_toml(tmp_path), "--corpus", tmp_path / "one", "--corpus")
    ran = run_meadow(*words, tmp_path / "other", "--out", out, "--json")
    assert ran.code == 0, ran.err
    made = open_corpus(out, verify=True)
    first = made.manifest.steps[0]
    assert (first.name, first.rows_in, first.rows_out) == ("corpora", 7, 5)
    assert first.rejected == {"conflict": 1, "duplicate": 1}
    assert set(made.to_polars()["output"]) == {*said[:4], said[4]}
    medqa = made.manifest.sources["medqa"]
    assert medqa.rows_out == one.rows() + other.rows("medqa") == 6
    assert len(medqa.inputs) == 2 * len(one.manifest.sources["medqa"].inputs)
    assert "--corpus CORPUS --corpus CORPUS" in (out / "README.md").read_text()
    assert check_corpus(out) == []
    ran = run_meadow(*words, tmp_path / "other", "--out", out, "--dry-run")
    assert "unchanged" in ran.err
    ran = run_meadow(*words, tmp_path / "one", "--out", tmp_path / "twice", "--json")
    assert json.loads(ran.out)["steps"][0]["rejected"] == {"duplicate": 3}


def test_two_sources_of_one_name_are_not_mixed_as_one(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"q": "Which knot holds?", "a": "A reef knot."}\n')
    for folder, exam in (("one", "false"), ("same", "false"), ("other", "true")):
        toml = tmp_path / f"{folder}.toml"
        toml.write_text(
            'name = "knots"\ntitle = "Knots"\nlicense = "cc0-1.0"\nfree_text = false\n'
            f'exam = {exam}\n[read]\nformat = "jsonl"\n[[files]]\nname = "mine.jsonl"\n'
            '[row]\ntask = "open_qa"\ninstruction = "Answer."\ninput = "{q}"\noutput = "{a}"\n'
        )
        words = ("--source", toml, "--file", f"knots={tmp_path}/mine.jsonl", "--out")
        assert (ran := run_meadow("build", *words, tmp_path / folder)).code == 0, ran.err
    words = ("mix", write_toml(tmp_path), "--out", tmp_path / "mix", "--corpus", tmp_path / "one")
    for more in ((), ("--dry-run",)):
        ran = run_meadow(*words, "--corpus", tmp_path / "other", *more)
        assert (ran.code, (tmp_path / "mix").exists()) == (2, False)
        assert "two sources of the name 'knots'" in ran.err
        assert f"{tmp_path}/one and {tmp_path}/other" in ran.err
    assert run_meadow(*words, "--corpus", tmp_path / "same").code == 0


def write_toml(folder: Path) -> Path:
    path = folder / "all.toml"
    path.write_text("[mix]\nvalidation = 0.0\n")
    return path


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    path = tmp_path / "exam.jsonl"
    rng = random.Random(9)
    items = [
        {"question": text, "options": {"A": f"drug{n}", "B": "nothing"}, "answer": "A"}
        for n, text in enumerate(texts(rng, 20, 40))
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_contamination_is_reported_and_dropped(tmp_path: Path, exam: Path) -> None:
    items = {"mine": load_exam("mine", [exam])}
    rows = medley()
    rows.append(record("medqa", 500, "drug0", input=items["mine"][0].question))
    rows.append(record("medqa", 501, "nothing", input=items["mine"][1].question))
    corpus = write_corpus(tmp_path / "corpus", rows)
    kept, _ = run(recipe(), corpus, tmp_path / "kept", exams=items)
    verdict = kept.details["contamination"]["mine"]
    assert verdict["items"] == 20
    found = {"options": 0, "stem": 1, "stem+answer": 1}
    assert verdict["rows"] == found == verdict["remaining"]["rows"]
    for drop, left in (("stem", 0), ("stem+answer", 1)):
        value = named(changed(recipe(), drop=drop), "test")
        dropped, made = run(value, corpus, tmp_path / drop.replace("+", "-"), exams=items)
        found = dropped.details["contamination"]["mine"]
        assert found["rows"] == verdict["rows"], "the report says what was found before"
        assert sum(found["remaining"]["rows"].values()) == left
        assert dropped.steps[4].rejected == {"contaminated": 2 - left}
        assert made.rows() == 42 - (2 - left)
        assert made.manifest.details["contamination"] == dropped.details["contamination"]
        levels = remaining(made.folder)["level"].to_list()
        assert sum(level != "none" for level in levels) == left


def test_command(tmp_path: Path, exam: Path) -> None:
    write_corpus(tmp_path / "corpus", medley())
    arguments = [
        "clean", "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "mix"),
        "--exam", f"mine={exam}",
    ]  # fmt: skip
    dry = CliRunner().invoke(mix, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert not (tmp_path / "mix").exists()
    result = CliRunner().invoke(mix, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["stage"] == "mix"
    assert document["steps"][0]["rows_in"] == 66
    assert "mine" in document["details"]["contamination"]
    before = contents(tmp_path / "mix")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "mix").rglob("*.parquet")}
    again = CliRunner().invoke(mix, arguments)
    assert again.exit_code == 0
    assert "unchanged" in again.stderr
    assert contents(tmp_path / "mix") == before
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    other = CliRunner().invoke(mix, ["full", *arguments[1:]])
    assert isinstance(other.exception, UsageError)
    assert other.exception.exit_code == ExitCode.USAGE


def test_counts_are_printed_with_their_arithmetic(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", medley())
    arguments = ["--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "mix")]
    result = CliRunner().invoke(mix, ["medalpaca-2023", *arguments])
    assert result.exit_code == 0, result.output
    assert "238,114" in result.stderr
    assert "229,438" in result.stderr
    assert "MISSED" in result.stderr
    assert "warning: medqa: expected 10,178 rows (tolerance 2%), found 20" in result.stderr


@pytest.mark.parametrize("left", ["staged", "nothing"])
def test_a_killed_run_is_simply_run_again(tmp_path: Path, left: str) -> None:
    """Staged leftovers never show, and the second run gives the same bytes."""
    corpus = write_corpus(tmp_path / "corpus", medley())
    run(recipe(), corpus, tmp_path / "whole")
    out = tmp_path / "cut"
    chosen = mix_settings(recipe(), {}, ())
    if left != "nothing":
        shutil.copytree(tmp_path / "whole", out)
        (out / "MANIFEST.json").unlink()
        staging = out / ".staging" / "data" / "test"
        staging.mkdir(parents=True)
        (staging / "train-00000.working.part").write_bytes(b"torn")
        from meadow.atomic import hash_json, write_json

        write_json(out / ".staging" / "config.json", {"config_hash": hash_json(chosen)})
    run(recipe(), corpus, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", medley())
    chosen = mix_settings(recipe(), {}, ())
    with pytest.raises(UsageError, match="something else"):
        unchanged_mix(tmp_path / "corpus", chosen, "")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        run(recipe(), corpus, tmp_path / "full")
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
