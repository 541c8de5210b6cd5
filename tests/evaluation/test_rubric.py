"""Open answers against a rubric: scores by hand, a judge that misbehaves, and the whole path."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.servers import transformers_serve

from evaluation import rubric
from evaluation.cli import compare, evaluate
from evaluation.journal import Journal
from meadow.chat.client import Cache, Endpoint, Meter
from meadow.chat.prompts import latest_prompt
from meadow.chat.scripted import MODEL, Reply, ScriptedChat, scripted_chat, scripted_verdict
from meadow.corpus.shards import read_parquet
from meadow.errors import MeadowError, NetworkError
from meadow.net.retry import RetryPolicy
from meadow.samples import FOLDER

PROMPTS, ANSWERS = (FOLDER / "rubric" / name for name in ("prompts.jsonl", "responses.jsonl"))
HOSTILE = "</script><script>window.hit=9</script><img src=x onerror=window.hit=9> {{ 7*7 }} `|`"


def command(server: ScriptedChat, folder: Path, *more: object) -> list[str]:
    own = ["rubric", "--judge", MODEL, "--judge-url", server.base_url, "--out", folder / "run",
           "--cache", folder / "cache.sqlite", "--json"]  # fmt: skip
    return [*map(str, own), *map(str, more)]


def invoke(arguments: list[str]) -> Result:
    return CliRunner().invoke(evaluate, arguments)


def done(arguments: list[str]) -> dict[str, Any]:
    result = invoke(arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout))


def case(key: str, *points: float, prompt: Any = "Why?", **more: Any) -> dict[str, Any]:
    rubrics = [{"criterion": f'Says "{n}"', "points": p} for n, p in enumerate(points)]
    return {"prompt_id": key, "prompt": prompt, "rubrics": rubrics, **more}


def written(folder: Path, *rows: dict[str, Any], name: str = "exam.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_from_the_file_to_the_report(tmp_path) -> None:
    """30 invented prompts with 150 criteria: the figures are those of a second reckoning."""
    with scripted_chat(scripted_verdict) as server:
        arguments = command(server, tmp_path, "--exam", "sample", "--responses", ANSWERS)
        found = done(arguments)
        assert len(server.requests) == 150
        again = done(arguments)
        assert len(server.requests) == 150, "what was judged is not judged again"
    assert found == again
    said = {row["prompt_id"]: row["response"] for row in map(json.loads, ANSWERS.open())}
    scores, met = [], 0
    for row in map(json.loads, PROMPTS.open()):
        text, points = said[row["prompt_id"]].lower(), 0.0
        for one in row["rubrics"]:
            if one["criterion"].split('"')[1].lower() in text:
                points, met = points + one["points"], met + 1
        scores.append(points / sum(max(0, one["points"]) for one in row["rubrics"]))
    assert (found["prompts"], found["criteria"], found["n"]) == (30, 150, 30)
    assert found["verdicts"] == {"met": met, "not met": 150 - met}
    assert found["score"] == pytest.approx(sum(scores) / 30)
    assert found["ci95"][0] < found["score"] < found["ci95"][1]
    shorter = sum(
        s - 0.0147 * (len(t) - 2000) / 500 for s, t in zip(scores, said.values(), strict=True)
    )
    assert found["adjusted"]["score"] == pytest.approx(min(1, shorter / 30))
    assert found["bounds"] == pytest.approx([found["score"]] * 2)
    assert set(found["strata"]) == {f"theme:{t}" for t in ("emergencies", "medicines", "context",
                                    "chronic", "documentation", "uncertainty")}  # fmt: skip
    page = Path(found["html"]).read_text()
    assert f"{found['score']:.1%}" in page
    assert page.count("<details") == 30
    assert f"{found['score']:.1%}" in Path(found["markdown"]).read_text()
    document = json.loads((tmp_path / "run/run.json").read_text())
    assert document["judge"]["prompt"] == "verdict-1"
    assert len(document["judge"]["prompt_sha256"]) == 64
    verdicts = read_parquet(tmp_path / "run" / rubric.VERDICTS).to_pylist()
    assert len({row["request_sha256"] for row in verdicts}) == 150
    # another judge is another run
    other = [*arguments, "--judge", "another"]
    with scripted_chat(scripted_verdict) as server:
        result = invoke([server.base_url if a.startswith("http") else a for a in other])
    assert "holds another run" in str(result.exception)


def test_two_answers_to_a_rubric_are_compared_in_pairs(tmp_path) -> None:
    rows = [json.loads(line) for line in ANSWERS.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["response"] = "." if number % 3 == 0 else row["response"]
    worse = written(tmp_path, *rows, name="worse.jsonl")
    with scripted_chat(scripted_verdict) as server:
        for name, answers in (("a", ANSWERS), ("b", worse)):
            done(command(server, tmp_path / name, "--exam", "sample", "--responses", answers))
    runs = [str(tmp_path / name / "run") for name in "ab"]
    said = CliRunner().invoke(compare, [*runs, "--json"])
    cell = json.loads(said.stdout)["modes"]["rubric"]
    assert (cell["n"], cell["only_a"], cell["only_b"], len(cell["flips"])) == (30, 10, 0, 10)
    scores = [
        {
            row["prompt_id"]: row["score"]
            for row in read_parquet(Path(run) / rubric.ANSWERS).to_pylist()
        }
        for run in runs
    ]
    moved = [scores[1][key] - scores[0][key] for key in scores[0]]
    assert cell["difference"] == pytest.approx(sum(moved) / 30)
    assert "responses is better by" in CliRunner().invoke(compare, runs).stdout
    assert "sign test p 0.002" in CliRunner().invoke(compare, runs).stdout
    both = invoke(["report", *runs])
    assert "has a page of its own" in str(both.exception)


def test_scores_by_hand() -> None:
    rows = [
        {"points": 5.0, "met": True},
        {"points": 3.0, "met": False},
        {"points": -4.0, "met": True},
        {"points": 2.0, "met": None},
    ]
    assert rubric.score_of(rows) == pytest.approx((5 - 4) / 8)  # not of 10
    assert rubric.score_of(rows[2:]) is None
    assert rubric.adjusted(0.5, 2000) == 0.5
    assert rubric.adjusted(0.5, 3000) == pytest.approx(0.5 - 2 * 0.0147)
    assert rubric.adjusted(0.5, 1500) == pytest.approx(0.5 + 0.0147)
    assert rubric.cell([-1.0, 0.5])["score"] == 0.0  # a mean below 0 is held there
    assert rubric.cell([None])["score"] is None


FAULTS: dict[str, tuple[Reply, str]] = {
    "prose": (Reply("The criterion is met."), "malformed"),
    "no verdict": (Reply('{"explanation": "yes"}'), "malformed"),
    "a word": (Reply('{"criteria_met": "true"}'), "malformed"),
    "a number": (Reply('{"criteria_met": 1}'), "malformed"),
    "a list": (Reply('[{"criteria_met": true}]'), "malformed"),
    "nothing": (Reply(""), "malformed"),
    "deep": (Reply("[" * 100_000), "malformed"),
    "cut": (Reply('{"explanation": "so', finish_reason="length"), "truncated"),
    "thinking that is cut": (Reply('<think>hm {"criteria_met": true}'), "truncated"),
    "refused": (Reply(status=400, body=b'{"error": "too long"}'), "refused_by_server"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_verdict_that_cannot_be_read_is_counted_and_is_no_not_met(name, tmp_path) -> None:
    bad, fault = FAULTS[name]

    def script(request: dict[str, Any], count: int) -> Reply:
        faulty = 'Says "1"' in request["messages"][-1]["content"]
        return bad if faulty else scripted_verdict(request)

    exam = written(tmp_path, case("a", 4, 6, -2), case("b", 4))
    answers = written(tmp_path, {"prompt_id": "a", "response": "0 2"},
                      {"prompt_id": "b", "response": "0"}, name="answers.jsonl")  # fmt: skip
    with scripted_chat(script) as server:
        found = done(command(server, tmp_path, "--file", exam, "--responses", answers))
        tries = 1 if fault == "refused_by_server" else 2
        assert len(server.requests) == 3 + tries
    assert found["verdicts"] == {"met": 3, fault: 1}
    assert found["undecided"] == 1
    assert found["score"] == pytest.approx(((4 - 2) / 4 + 1) / 2)
    assert found["bounds"] == pytest.approx([((4 - 2) / 10 + 1) / 2, ((10 - 2) / 10 + 1) / 2])
    assert "1 criteria have no verdict" in found["verdict"]


def test_a_verdict_behind_thinking_or_in_a_fence_is_read(tmp_path) -> None:
    replies = [
        Reply('<think>{"criteria_met": false}</think>{"explanation": "", "criteria_met": true}'),
        Reply('```json\n{"criteria_met": true}\n```'),
    ]
    exam = written(tmp_path, case("a", 4, 6))
    answers = written(tmp_path, {"prompt_id": "a", "response": "x"}, name="answers.jsonl")
    with scripted_chat(lambda request, count: replies[count]) as server:
        found = done(command(server, tmp_path, "--file", exam, "--responses", answers))
    assert found["verdicts"] == {"met": 2}


BROKEN: dict[str, tuple[list[dict[str, Any]], str]] = {
    "an empty rubric": ([case("a")], "at least 1 item"),
    "faults only": ([case("a", -1, -3)], "no criterion has points above 0"),
    "an id twice": ([case("a", 1), case("a", 2)], "is there twice"),
    "no id": ([{**case("a", 1), "prompt_id": ""}], "at least 1 character"),
    "points in words": ([case("a", "five")], "valid number"),  # type: ignore[arg-type]
    "points that are none": ([case("a", float("nan"))], "NaN is not JSON"),
    "no rubric": ([{"prompt_id": "a", "prompt": "Why?"}], "rubrics"),
    "the model's turn": (
        [case("a", 1, prompt=[{"role": "assistant", "content": "x"}])],
        "the last turn is not the user's",
    ),
    "a tool's turn": ([case("a", 1, prompt=[{"role": "tool", "content": "x"}])], "pattern"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_exam_that_cannot_be_scored_is_refused(name, tmp_path) -> None:
    rows, message = BROKEN[name]
    with pytest.raises(MeadowError, match=message) as error:
        rubric.read_cases([written(tmp_path, *rows)])
    assert error.value.exit_code == 1
    assert error.value.where.startswith(str(tmp_path / "exam.jsonl"))


def test_answers_are_of_every_prompt_and_of_no_other(tmp_path) -> None:
    cases = rubric.read_cases([written(tmp_path, case("a", 1), case("b", 1))])
    for given, message in (
        (["a"], "1 of 2 prompts have no response, 'b' first"),
        (["a", "b", "c"], "no prompt of the exam has the id 'c'"),
        (["a", "b", "b"], "two responses"),
    ):
        rows = [{"prompt_id": key, "response": "x"} for key in given]
        with pytest.raises(MeadowError, match=message):
            rubric.read_answers(written(tmp_path, *rows, name="answers.jsonl"), cases)


def test_nobody_there_and_limits(tmp_path) -> None:
    arguments = [sys.executable, "-m", "meadow", "eval", "rubric", "--exam", "sample",
                 "--responses", ANSWERS, "--judge", "m", "--judge-url", "http://127.0.0.1:9/v1",
                 "--out", tmp_path / "run", "--cache", tmp_path / "c.sqlite"]  # fmt: skip
    remote = ["https://192.0.2.1/v1" if str(a).startswith("http") else a for a in arguments]
    found = subprocess.run(remote, capture_output=True, text=True, check=False)
    assert found.returncode == 6
    assert "the texts would leave this machine" in found.stderr
    with scripted_chat(scripted_verdict) as server:
        more = ("--exam", "sample", "--responses", ANSWERS)
        found = done(command(server, tmp_path, *more, "--max-requests", 40))
        assert len(server.requests) == 40
        assert found["verdicts"]["max_requests"] == 110
        assert done(command(server, tmp_path, *more))["undecided"] == 0
        assert len(server.requests) == 150


def test_a_judge_that_is_down_ends_the_run_and_its_verdicts_are_kept(tmp_path) -> None:
    def script(request: dict[str, Any], count: int) -> Reply:
        return scripted_verdict(request) if count < 20 else Reply(status=503, body=b"{}")

    cases = rubric.read_cases([PROMPTS])
    answers = [one.value.text for one in rubric.read_answers(ANSWERS, cases) if one.value]
    with scripted_chat(script) as server:
        policy = RetryPolicy(tries=2, first_wait=0.001)
        endpoint = Endpoint(server.base_url, MODEL, concurrency=1, policy=policy)
        cache = Cache(tmp_path / "c.sqlite")
        judge = rubric.Judge(endpoint, latest_prompt("verdict"), cache, Meter())
        with pytest.raises(NetworkError, match="given up after 2 tries") as error:
            rubric.judge_answers(cases, answers, judge)
    assert error.value.exit_code == 1
    assert "every answer so far is kept" in error.value.fix
    assert len(cache.keys()) == 20
    cache.close()


def test_a_conversation_is_sent_as_turns_and_silence_meets_nothing(tmp_path) -> None:
    said_so_far = (("system", "Be brief."), ("user", HOSTILE), ("assistant", "What?"))
    turns = [{"role": r, "content": c} for r, c in (*said_so_far, ("user", "Well?"))]
    said = {"Well?": f"0 {HOSTILE}", "Mute?": "<think>so much to think</think>", "Cut?": "<think>0"}

    def script(request: dict[str, Any], count: int) -> Reply:
        last = request["messages"][-1]["content"]
        if last in said:
            asked.append(request)
            return Reply(said[last], finish_reason="length" if last == "Cut?" else "stop")
        return scripted_verdict(request)

    asked: list[dict[str, Any]] = []
    exam = written(tmp_path, case("a", 1, -1, prompt=turns, example_tags=[HOSTILE]),
                   case("b", 1, -1, prompt="Mute?"), case("c", 1, prompt="Cut?"))  # fmt: skip
    with scripted_chat(script) as server:
        more = ("--file", exam, "--model", HOSTILE, "--base-url", server.base_url)
        found = done(command(server, tmp_path, *more, "--max-new-tokens", 9))
        assert len(server.requests) == 3 + 2
    assert next(r for r in asked if len(r["messages"]) == 4)["messages"] == turns
    assert {request["max_tokens"] for request in asked} == {9}
    assert found["verdicts"] == {"met": 1, "not met": 4}
    assert (found["silent"], found["cut"]) == (2, 1)
    assert found["score"] == pytest.approx(1 / 3)
    page = Path(found["html"]).read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "{{ 7*7 }}" in page


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_a_checkpoint_answers_in_its_template_and_goes_on_after_a_kill(
    tmp_path, local, chat_tokenizer, template
) -> None:
    backend = local()
    backend.tokenizer = chat_tokenizer
    backend.model.resize_token_embeddings(len(chat_tokenizer))
    rows = [case(f"{n}", 1) for n in range(backend.together + 2)]
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Yes."},
             {"role": "user", "content": "Two?"}]  # fmt: skip
    rows += [case("turns", 1, prompt=turns), case("long", 1, prompt="word " * 1100)]
    cases = rubric.read_cases([written(tmp_path, *rows)])

    def answers() -> list[Any]:
        journal = Journal(tmp_path / "run", "k")
        return rubric.local_answers(cases, backend, journal, template, 4, lambda *_: None)

    first = answers()
    assert all(one.value.text for one in first[:-1])
    assert (first[-1].value, first[-1].fault) == (None, "too_long")
    journal = tmp_path / "run/journal.0.jsonl"
    journal.write_text(journal.read_text()[: -len(journal.read_text().splitlines()[-1]) // 2])
    assert answers() == first


def marked(path: str, rows: list[dict[str, str]]) -> None:
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_agreement_with_a_person(tmp_path) -> None:
    with scripted_chat(scripted_verdict) as server:
        arguments = command(server, tmp_path, "--exam", "sample", "--responses", ANSWERS)
        done(arguments)
    sheet = done(command(server, tmp_path, "--review", 40))
    assert sheet["rows"] == 40
    with Path(sheet["review"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    verdicts = {
        row["id"]: row["met"] for row in read_parquet(tmp_path / "run/verdicts.parquet").to_pylist()
    }
    assert set(rows[0]) == {"id", "conversation", "answer", "criterion", "mark", "note"}
    for number, row in enumerate(rows):  # a person who says "met" more often
        row["mark"] = "met" if verdicts[row["id"]] or number < 15 else "not met"
    marked(sheet["review"], rows)
    found = done(command(server, tmp_path, "--marked", sheet["review"]))
    differing = sum(not verdicts[row["id"]] for row in rows[:15])
    assert differing > 0
    assert (found["marked"], found["agree"]) == (40, 40 - differing)
    assert found["met_by_person_only"] == differing
    # Cohen's kappa by hand
    both = Counter((row["mark"] == "met", verdicts[row["id"]]) for row in rows)
    person = sum(n for (h, _), n in both.items() if h) / 40
    judge = sum(n for (_, j), n in both.items() if j) / 40
    chance = person * judge + (1 - person) * (1 - judge)
    assert found["kappa"] == pytest.approx((found["share"] - chance) / (1 - chance))
    page = (tmp_path / "run/report.html").read_text()
    assert f"A person agrees with the judge on {40 - differing} of 40 criteria" in page
    rows[0]["mark"] = "perhaps"
    marked(sheet["review"], rows)
    wrong = invoke(command(server, tmp_path, "--marked", sheet["review"]))
    assert "not a mark: 'perhaps'" in str(wrong.exception)


def test_killed_at_a_random_moment_it_ends_as_a_whole_run_does(tmp_path) -> None:
    seen: list[str] = []

    def script(request: dict[str, Any], count: int) -> Reply:
        seen.append(json.dumps(request, sort_keys=True))
        return Reply(scripted_verdict(request).content, delay=0.01)

    with scripted_chat(script) as server:

        def arguments(name: str) -> list[str]:
            own = command(server, tmp_path / name, "--exam", "sample", "--responses", ANSWERS)
            return [sys.executable, "-m", "meadow", "eval", *own]

        process = subprocess.Popen(
            arguments("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while len(seen) < 50 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        assert not (tmp_path / "killed/run/run.json").exists()
        subprocess.run(arguments("killed"), check=True, capture_output=True)
        # at most those on their way when it was killed were asked twice
        assert len(seen) <= 150 + 4
        subprocess.run(arguments("whole"), check=True, capture_output=True)
    for name in (rubric.ANSWERS, rubric.VERDICTS, rubric.SUMMARY, "report.md"):
        one, other = ((tmp_path / run / "run" / name).read_bytes() for run in ("killed", "whole"))
        assert one == other or name == "report.md"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_against_a_real_server(upstream, tmp_path) -> None:
    """A story-teller answers and judges: real tokens and sockets, and not one verdict."""
    exam = written(tmp_path, case("a", 1, -1), case("b", 2))
    prompt = tmp_path / "short.toml"
    own = FOLDER.parent / "chat/prompt_texts/verdict-1.toml"
    prompt.write_text(own.read_text().replace("max_tokens = 1024", "max_tokens = 16"))
    model = upstream / "tiny_llama" / "stories260K-hf"
    with transformers_serve(model, tmp_path / "served") as (url, name):
        found = done(["rubric", "--file", str(exam), "--model", name, "--base-url", url, "--judge",
                      name, "--judge-url", url, "--prompt", str(prompt), "--max-new-tokens", "8",
                      "--out", str(tmp_path / "run"), "--cache", str(tmp_path / "c.sqlite"),
                      "--json"])  # fmt: skip
    assert found["undecided"] == 3
    assert set(found["verdicts"]) <= {"malformed", "truncated"}
    assert found["score"] is None
    assert all(row["answer"] for row in read_parquet(tmp_path / "run/answers.parquet").to_pylist())
