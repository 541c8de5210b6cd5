"""A teacher that reasons about questions: what stays, what is refused, and what is told of both."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.chat_server import question
from support.command import run_meadow

import meadow
from meadow.chat.client import Answer, FaultError
from meadow.chat.prompts import latest_prompt
from meadow.chat.scripted import MODEL, Reply, ScriptedChat, scripted_chat, scripted_reasoning
from meadow.config import read_config
from meadow.corpus.folder import REASONING_TRIES
from meadow.errors import UsageError
from meadow.hub.rebuild import rebuild
from meadow.rephrase.reason import read_reasoning, why_not_asked
from meadow.samples import FOLDER
from meadow.schema import Task, from_row, make_record, messages_of, split_reasoning, with_reasoning

STEPS = (
    "The question tells of one finding, and of the options only one goes with it. The others "
    "belong to diseases that would show in another way, so they are put aside."
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "built"
    meadow.build(["medqa", "anki", "mmmlu"], raw=FOLDER, out=out)
    return out


@pytest.fixture(scope="module")
def keys(corpus: Path) -> dict[str, tuple[str, str]]:
    """Input of a question -> its key and a label that is not."""
    found = {}
    for row in meadow.open_corpus(corpus).to_arrow("medqa").to_pylist():
        meta = json.loads(row["meta"])
        wrong = next(label for label in meta["options"] if label != meta["answer"])
        found[row["input"]] = (meta["answer"], wrong)
    return found


@pytest.fixture(scope="module")
def reasoned(corpus: Path) -> Path:
    """The corpus after a guesser has reasoned about its questions."""
    with scripted_chat(scripted_reasoning) as server:
        ran = reason(corpus, corpus.parent / "reasoned", server)
    assert ran.code == 0, ran.err
    return corpus.parent / "reasoned"


def asked_about(request: dict[str, Any]) -> str:
    return request["messages"][-1]["content"].split("<question>\n")[1].split("\n</question>")[0]


def reason(folder: Path, out: Path, server: ScriptedChat, *more: object):
    return run_meadow(
        "reason", "medqa", "--corpus", folder, "--out", out, "--model", MODEL, "--base-url",
        server.base_url, "--cache", out.parent / "cache.sqlite", "--concurrency", "1", "--json",
        *more,
    )  # fmt: skip


def answering(say: Callable[[str, str, str, int], Reply | str]) -> Any:
    """A teacher by (question, key, wrong label, number of the try); the test holds the keys."""

    def make(keys: dict[str, tuple[str, str]]) -> Any:
        def script(request: dict[str, Any], count: int) -> Reply:
            question = asked_about(request)
            said = say(question, *keys[question], request["seed"])
            return said if isinstance(said, Reply) else Reply(said)

        return script

    return make


def test_only_what_comes_to_the_key_stays_and_every_try_is_kept(
    corpus: Path, keys: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    late = sorted(keys)[:3]
    never = sorted(keys)[3]

    def say(question: str, key: str, wrong: str, seed: int) -> str:
        right = question != never and (question not in late or seed == 2)
        return f"{STEPS} {seed}\n\nAnswer: {key if right else wrong}"

    with scripted_chat(answering(say)(keys)) as server:
        ran = reason(corpus, tmp_path / "out", server, "--tries", "3")
        assert ran.code == 0, ran.err
        # the teacher is never shown the key: only the question as it stands in the row
        for request in server.requests:
            assert asked_about(request) in keys
    told = json.loads(ran.out)
    count = len(keys)
    assert (told["items"], told["rewritten"]) == (count, count - 1)
    assert told["kept"] == {"wrong_answer": 1}
    assert told["at_try"] == [count - 4, 0, 3]
    assert told["tried"] == told["requests_sent"] == count - 4 + 3 * 4
    assert meadow.check(tmp_path / "out") == []
    before, after = meadow.open_corpus(corpus), meadow.open_corpus(tmp_path / "out", verify=True)
    pairs = zip(before.to_arrow("medqa").to_pylist(), after.to_arrow("medqa").to_pylist(),
                strict=True)  # fmt: skip
    for old, new in pairs:
        reasoning, answer = split_reasoning(new["output"])
        assert answer == old["output"], "the source's answer, to the byte"
        if new["input"] == never:
            assert new == old
            continue
        assert reasoning == f"{STEPS} {2 if new['input'] in late else 0}", "without its last line"
        facts = json.loads(new["meta"])["reason"]
        assert facts["tries"] == (3 if new["input"] in late else 1)
        assert facts["prompt_sha256"] == latest_prompt("reasoning").sha256
        assert new["rephrased_by"] == MODEL
    tries = pq.read_table(tmp_path / "out" / REASONING_TRIES).to_pylist()
    assert len(tries) == told["tried"]
    for row in tries:
        assert (row["fault"] == "") == (row["answer_read"] == row["key"])
        assert row["text"].endswith(f"Answer: {row['answer_read']}")
        assert (row["finish_reason"], row["rule"], len(row["request_sha256"])) == (
            "stop", "lone letter", 64,
        )  # fmt: skip
    assert [row["try"] for row in tries if row["fault"] == "wrong_answer"].count(3) == 1
    card = (tmp_path / "out/README.md").read_text()
    assert f"| medqa | {MODEL} | reasoning-1 (`" in card
    assert f"| {count} | {count - 1} | 1: {count - 4} (" in card
    assert "held against no exam" in card
    made = f"meadow reason medqa --corpus DIR --model {MODEL} --tries 3 --cache ANSWERS"
    assert made in card
    config = read_config()
    with pytest.raises(UsageError, match="a model worked on its rows"):
        rebuild(after.manifest, tmp_path / "again", config=config)
    assert after.manifest.sources["anki"] == before.manifest.sources["anki"]


def test_the_same_answers_give_the_same_bytes_and_are_not_asked_for_again(
    corpus: Path, reasoned: Path, tmp_path: Path
) -> None:
    whole = meadow.open_corpus(reasoned).manifest
    with scripted_chat(scripted_reasoning) as server:
        # a budget leaves rows as they were; what is sent later goes on from there
        short = reason(corpus, tmp_path / "out", server, "--max-requests", "5")
        assert json.loads(short.out)["requests_sent"] == len(server.requests) == 5
        assert json.loads(short.out)["kept"]["max_requests"] > 0
        assert reason(corpus, tmp_path / "out", server, "--concurrency", "8").code == 0
        tried = whole.details["reason"]["medqa"]["tried"]
        assert len(server.requests) == tried, "nothing is asked twice"
    assert meadow.open_corpus(tmp_path / "out").manifest.to_json() == whole.to_json()


def test_a_server_that_does_not_sample_is_not_asked_for_ever(
    corpus: Path, keys: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    def say(question: str, key: str, wrong: str, seed: int) -> str:
        return f"{STEPS}\n\nAnswer: {wrong}"

    with scripted_chat(answering(say)(keys)) as server:
        ran = reason(corpus, tmp_path / "out", server, "--limit", "4", "--tries", "9")
        assert len(server.requests) == 8, "the same again: there will be no other answer"
    told = json.loads(ran.out)
    assert (told["repeated"], told["kept"]) == (4, {"wrong_answer": 4})
    assert told["guessing"] == 0.2, "an answer and its repetition are one try of a guesser"
    assert "does the server heed `seed`" in ran.err
    card = (tmp_path / "out/README.md").read_text()
    assert "8 answers in all; 4 questions given up where the teacher gave the same answer" in card


GOOD = "\n\nAnswer: {key}"
FAULTS: dict[str, tuple[str, str]] = {
    "nothing": ("", "empty"),
    "the other label": (STEPS + "\n\nAnswer: {wrong}", "wrong_answer"),
    "no label": (STEPS, "no_answer"),
    "two labels": (STEPS + "\n\nThe answer is {key} or {wrong}.", "no_answer"),
    "a refusal": ("I'm sorry, but I can't answer medical questions.", "refusal"),
    "the prompt again": ("<question>\n{question}\n</question>\n" + STEPS + GOOD, "echo"),
    "the question again": ("{question}\n\n" + STEPS + GOOD, "echo"),
    "a key in the echo": ("{question}\nThe answer given is {key}." + GOOD, "echo"),
    "a key that was told": ("The answer key says {key}. " + STEPS + GOOD, "key_mentioned"),
    "a given answer": ("Since the correct answer is given as {key}, " + STEPS + GOOD,
                       "key_mentioned"),
    "no reasoning": ("Answer: {key}", "length"),
    "the answer first": ("Answer: {key}\n\n" + STEPS, "no_conclusion"),
    "an option's words and no label": ("lung\nlung is where it is. " + STEPS, "no_conclusion"),
    "nothing but options": (
        "A: heart\nB: lung\nC: liver\n" * 3 + "and so on for all of them." + GOOD,
        "length",
    ),
    "a loop": ("The air goes into the organ that takes up what is in it. " * 9 + GOOD, "repeats"),
    "most of the question": ("So {question:.130} is what we look at." + GOOD, "echo"),
    "another language": (
        "Die Frage beschreibt einen Befund, und nur eine der Möglichkeiten passt zu ihm, während "
        "die anderen zu Krankheiten gehören, die sich auf eine andere Weise zeigen würden." + GOOD,
        "language",
    ),
    "thinking not closed": ("<think>\n" + STEPS + GOOD, "truncated"),
    "somebody's number": ("Call me at +1 (212) 555-0187 or a.b@example.org. " + STEPS + GOOD,
                          "personal_data"),
}  # fmt: skip
LETTERS: dict[str, tuple[str, str]] = {
    "a thinking model": ("<think>\nhm\n</think>\n\n" + STEPS + GOOD, STEPS),
    "nothing but thinking": ("<think>\n" + STEPS + "\n</think>\n\n**Answer: {key}**", STEPS),
    "in a box": (STEPS + r" \boxed{{{key}}}", STEPS + r" \boxed{{{key}}}"),
}


def read(text: str, finish_reason: str = "stop") -> str:
    item = question()
    said = text.format(question=item.record.input, key="B", wrong="C")
    return read_reasoning(item, Answer(said, finish_reason, "m", 1, 1), {})


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_of_no_use_is_refused_by_name(name: str) -> None:
    text, fault = FAULTS[name]
    with pytest.raises(FaultError, match=f"^{fault}$"):
        read(text)


def test_what_is_cut_off_is_refused_even_where_the_key_stands_in_it() -> None:
    with pytest.raises(FaultError, match="truncated"):
        read(STEPS + GOOD, "length")


@pytest.mark.parametrize("name", LETTERS)
def test_a_reasoning_is_found_however_the_answer_is_put(name: str) -> None:
    text, expected = LETTERS[name]
    assert read(text) == expected.format(key="B")


def test_rows_that_touch_an_exam_are_not_asked_about(corpus: Path, tmp_path: Path) -> None:
    rows = meadow.open_corpus(corpus).to_arrow("medqa").to_pylist()
    stems = [row["input"].partition("\nA: ")[0] for row in rows[:2]]
    lines = [
        {"question": stem, "options": {"A": "yes", "B": "no"}, "answer": "A"} for stem in stems
    ]
    exam = tmp_path / "mine.jsonl"
    exam.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with scripted_chat(scripted_reasoning) as server:
        ran = reason(corpus, tmp_path / "out", server, "--exam", f"mine={exam}", "--tries", "1")
        assert ran.code == 0, ran.err
        assert not any(stem in asked_about(r) for r in server.requests for stem in stems)
    assert json.loads(ran.out)["left_out"] == {"touches an exam": 2}
    card = (tmp_path / "out/README.md").read_text()
    assert "held against mine before anything was asked; not asked about: touches an exam 2" in card
    with scripted_chat(scripted_reasoning) as server:
        ran = run_meadow("reason", "mmmlu", "--corpus", corpus, "--model", MODEL, "--base-url",
                         server.base_url)  # fmt: skip
        assert (ran.code, server.requests) == (6, [])
    assert "is an exam elsewhere" in ran.err


def test_wrong_uses_are_named_and_write_nothing(
    corpus: Path, reasoned: Path, tmp_path: Path
) -> None:
    meadow.mix("clean", corpus=corpus, out=tmp_path / "mix")
    with scripted_chat(scripted_reasoning) as server:
        given = ("--model", MODEL, "--base-url", server.base_url, "--cache", tmp_path / "c")
        out = ("--out", tmp_path / "out")
        for words, code, message in (
            (("medqa", "--corpus", tmp_path / "mix", *given), 2, "no build of medqa"),
            (("medkq", "--corpus", corpus, *given), 2, "did you mean 'medqa'? one of"),
            (("anki", "--corpus", corpus, *given), 2, "no multiple choice question with a key"),
            (("medqa", "--corpus", corpus), 2, "which model"),
            (("medqa", "--corpus", corpus, *given, "--tries", "0"), 2, "0 is not in the range"),
            (("medqa", "--corpus", corpus, "--model", "m", "--base-url", "http://192.0.2.1/v1"), 6,
             "would leave this machine"),
            (("medqa", "--corpus", corpus, *given, "--review", "3"), 2, "reasoned about"),
        ):  # fmt: skip
            ran = run_meadow("reason", *words, *out)
            assert (ran.code, message in ran.err) == (code, True), ran.err
        planned = reason(corpus, tmp_path / "out", server, "--dry-run")
        assert json.loads(planned.out)["estimate"]["requests"] > 20
        assert "up to 4 tries each" in planned.err
        assert server.requests == []
        assert not (tmp_path / "out").exists()
        again = run_meadow("reason", "medqa", "--corpus", reasoned, *given)
        assert (again.code, "has its reasoning already" in again.err) == (2, True)
    server = scripted_chat(lambda request, count: Reply(status=404, body=b'{"error": "no model"}'))
    with server as nobody:
        ran = reason(corpus, tmp_path / "none/out", nobody)
        assert (ran.code, "--model" in ran.err + ran.out) == (1, True), ran.err
        assert not (tmp_path / "none/out").exists()


def test_a_row_without_key_or_options_is_left_out_with_its_reason() -> None:
    def asked(meta: dict[str, Any], text: str = "Which one?", task: Task = Task.MULTIPLE_CHOICE):
        return why_not_asked(
            make_record(source="medqa", key=(text,), instruction="Answer.", input=text, output="A",
                        task=task, license="mit", meta=meta)
        )  # fmt: skip

    options = {"A": "heart", "B": "lung"}
    assert asked({"options": options, "answer": "A"}) == ""
    assert asked({}) == "no options or no key"
    assert asked({"options": options}) == "no options or no key"
    assert asked({"options": options, "answer": "C"}) == "no options or no key"
    assert asked({"options": {"A": "heart"}, "answer": "A"}) == "no options or no key"
    assert asked({"options": options, "answer": "A"}, task=Task.OPEN_QA) == (
        "no multiple choice question"
    )
    told = asked({"options": options, "answer": "A"}, "Which one?\nThe correct answer is A.")
    assert told == "the question states its answer"


def test_a_review_states_an_error_rate_of_the_reasoning(reasoned: Path, tmp_path: Path) -> None:
    shutil.copytree(reasoned, tmp_path / "out")
    ran = run_meadow("reason", "medqa", "--corpus", tmp_path / "out", "--review", "5")
    assert ran.code == 0, ran.err
    with (tmp_path / "out-review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "question", "reasoning", "answer", "mark", "note"]
    for number, row in enumerate(rows):
        row["mark"] = "bad" if number < 2 else "good"
    with (tmp_path / "marked.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    marked = ("--marked", tmp_path / "marked.csv")
    assert run_meadow("reason", "medqa", "--corpus", tmp_path / "out", *marked).code == 0
    card = (tmp_path / "out/README.md").read_text()
    assert re.search(r"40\.0% \(2 of 5 marked bad; 95 % interval 11\.8% to 76\.9%\)", card)
    assert meadow.check(tmp_path / "out") == []


def test_a_mix_has_the_reasoning_as_a_column_and_its_card_names_the_teacher(
    corpus: Path, reasoned: Path, tmp_path: Path
) -> None:
    mix = meadow.mix("clean", corpus=reasoned, out=tmp_path / "mix", format="reasoning")
    assert meadow.check(tmp_path / "mix") == []
    rows = mix.to_arrow().to_pylist()
    thought = [row for row in rows if row["reasoning"]]
    assert len(thought) == sum(row["rephrased_by"] == MODEL for row in rows) > 5
    for row in thought:
        assert row["output"].startswith(f"<think>\n{row['reasoning']}\n</think>\n\n")
        assert row["messages"][-1]["content"] == row["output"]
        assert from_row(row).id == row["id"]
    card = (tmp_path / "mix/README.md").read_text()
    assert "## Reasoning by a language model" in card
    assert "of the corpus that this was mixed from" in card
    assert "- name: reasoning\n    dtype: string" in card
    plain = meadow.mix("clean", corpus=corpus, out=tmp_path / "plain", format="reasoning")
    assert not any(row["reasoning"] for row in plain.to_arrow().to_pylist())
    assert "## Reasoning" not in (tmp_path / "plain/README.md").read_text()


def test_work_on_one_source_keeps_what_stands_beside_another(
    reasoned: Path, tmp_path: Path
) -> None:
    with scripted_chat(scripted_reasoning) as server:
        meadow.rephrase(
            "anki", corpus=reasoned, model=MODEL, base_url=server.base_url, limit=3,
            cache=tmp_path / "cache.sqlite", out=tmp_path / "both",
        )  # fmt: skip
    assert meadow.check(tmp_path / "both") == []
    before, after = ((folder / REASONING_TRIES).read_bytes() for folder in
                     (reasoned, tmp_path / "both"))  # fmt: skip
    assert before == after
    details = meadow.open_corpus(tmp_path / "both").manifest.details
    assert (list(details["reason"]), list(details["rephrase"])) == (["medqa"], ["anki"])
    assert list(details["sidecars"]) == ["raw_pairs"]


def test_a_reasoning_is_put_in_and_taken_out_whole() -> None:
    for reasoning in ("one line", "two\n\nlines </b>"):
        assert split_reasoning(with_reasoning(reasoning, "B: x")) == (reasoning, "B: x")
    for output in ("B: x", "<think>\nnot closed", "a\n</think>\n\nb"):
        assert split_reasoning(output) == (None, output)
    turns = messages_of("Answer.", "Which?", with_reasoning("So it is.", "B"), "{}")
    assert turns[1]["content"] == "<think>\nSo it is.\n</think>\n\nB"
