"""What is sent and where a response ends: frames, stops, dates, BOS, thinking and its budget."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from evaluation import generate
from evaluation.backend import Response, Sampling
from evaluation.modes import parse_modes
from evaluation.questions import REASON, Framing, ask
from evaluation.run import Settings, preview, run
from meadow.corpus.shards import read_parquet
from meadow.errors import UsageError
from meadow.models.frames import tokenize
from meadow.prompt import EXAM_CUE, TODAY, exam_prompt, render, stop_texts

CHAT = Framing(template="chat")


def test_a_prompt_has_one_bos_and_the_pinned_date(chat_tokenizer, sample_items) -> None:
    settings = Settings("sample", parse_modes("letter,generate,cot"), CHAT)
    found = preview(local_of(chat_tokenizer), sample_items, settings, 2)
    assert [(r["item_id"], r["mode"]) for r in found] == [
        (item.item_id, mode) for item in sample_items[:2] for mode in ("letter", "generate", "cot")
    ]
    for row in found:
        assert row["prompt"].startswith(f"<s>{TODAY:%d %b %Y}<|turn|>user")
        assert (
            row["token_ids"] == chat_tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        )
        assert row["token_ids"].count(chat_tokenizer.bos_token_id) == 1
    letter, written, reasoned = (row["prompt"] for row in found[:3])
    assert letter == written + EXAM_CUE  # what is scored follows the cue, what is written does not
    assert reasoned == written.replace("<|end|>", f"\n\n{REASON}<|end|>")


def local_of(tokenizer: Any) -> Any:
    from evaluation.local import Prompter

    return Prompter(tokenizer, 4096)


def test_other_frames_keep_their_bytes(sample_items) -> None:
    item = sample_items[0]
    frame = exam_prompt("medalpaca", item.question, list(item.options))
    for mode, prompt in (
        ("", frame),
        ("generate", frame),
        ("medalpaca_legacy", frame),
        ("cot", frame.removesuffix(EXAM_CUE) + REASON + "\n"),
    ):
        assert ask(item, Framing(), mode=mode)[0].context == prompt


@pytest.mark.parametrize(
    ("form", "shown"), [("'%Y'", f"{TODAY:%Y}"), ('"%d %B"', f"{TODAY:%d %B}"), ("f", str(TODAY))]
)
def test_no_template_sees_the_clock(chat_tokenizer, form, shown) -> None:
    chat_tokenizer.chat_template = "{% set f = '%c' %}[{{ strftime_now(" + form + ") }}]"
    assert render("chat", "x", tokenizer=chat_tokenizer) == f"[{shown}]"


def test_thinking_is_told_and_closed_where_nothing_may_be_thought(chat_tokenizer) -> None:
    for thinking, end in ((None, "assistant\n"), (False, "assistant\n"), (True, "<think>\n")):
        assert render("chat", "x", tokenizer=chat_tokenizer, thinking=thinking).endswith(end)
    chat_tokenizer.chat_template = "{{ messages[0]['content'] }}<think>\n"  # always
    closed = render("chat", "x", tokenizer=chat_tokenizer, thinking=False)
    assert closed == "x<think>\n\n</think>\n\n"


def test_stops_belong_to_the_frame(chat_tokenizer) -> None:
    assert "\n###" in stop_texts("medalpaca")
    assert stop_texts("alpaca") == stop_texts("medalpaca")
    assert stop_texts("short") == ()
    assert stop_texts("### {instruction}") == ()
    assert stop_texts("chat", chat_tokenizer) == ("<|end|>",)


def test_a_turns_end_and_a_stop_text_end_a_response(local, monkeypatch) -> None:
    backend = local()
    prompts = ["A 40-year-old", "The patient is a man who"]
    free = backend.generate(prompts, [Sampling(24)] * 2)
    alone = [backend.generate([prompt], [Sampling(24)])[0] for prompt in prompts]
    assert [r.text for r in free] == [r.text for r in alone]  # padding changes nothing
    stop = free[0].text[5:8]
    steps = []
    forward = backend.model.forward
    monkeypatch.setattr(
        backend.model, "forward", lambda *a, **k: steps.append(1) or forward(*a, **k)
    )
    (found,) = backend.generate(prompts[:1], [Sampling(24, stop=(stop,))])
    assert (found.text, found.at_limit) == (free[0].text.partition(stop)[0], False)
    assert len(steps) < 24  # it ends where the text does, not at the limit


def test_samples_of_a_question_are_one_batch(local, sample_items, tmp_path, monkeypatch) -> None:
    backend = local()
    sizes = []
    inner = backend.generate
    monkeypatch.setattr(backend, "generate", lambda p, s: (sizes.append(len(p)), inner(p, s))[1])
    settings = Settings("sample", ("generate_sc",), samples=4, max_new_tokens=3)
    run(backend, sample_items[:2], settings, tmp_path)
    assert [size for size in sizes if size] == [4, 4]


class Thinker:
    """Writes what it was told to, cut at the limit of a call, one word a token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls: list[tuple[str, int]] = []

    def generate(self, prompts: list[str], samplings: list[Sampling]) -> list[Response]:
        found = []
        for prompt, sampling in zip(prompts, samplings, strict=True):
            self.calls.append((prompt, sampling.max_new_tokens))
            left = "C: it is" if prompt.endswith("</think>\n\n") else self.text
            words = left.split(" ")
            limit = sampling.max_new_tokens
            found.append(Response(" ".join(words[:limit]), len(words) > limit))
        return found


@pytest.mark.parametrize("opened", ["", "<think>\n"])
def test_thinking_beyond_its_budget_is_closed_and_the_answer_follows(opened) -> None:
    mark = "" if opened else "<think>"
    backend: Any = Thinker(mark + "a b c d e f g")
    (found,) = generate.respond(backend, [f"Q{opened}"], [Sampling(9)], 4)
    assert backend.calls[0] == (f"Q{opened}", 4)
    assert backend.calls[1] == (f"Q{opened}{mark}a b c d\n</think>\n\n", 5)
    assert found == Response("<think>a b c d\n</think>\n\nC: it is", False)
    quick: Any = Thinker(mark + "a </think> D")
    (found,) = generate.respond(quick, [f"Q{opened}"], [Sampling(9)], 4)
    assert len(quick.calls) == 1
    assert found.text == "<think>a </think> D"


@pytest.mark.parametrize(
    ("mode", "limit", "asked", "framing", "budget", "tokens"),
    [
        ("generate", None, None, Framing(), 0, 128),
        ("generate", 200, None, Framing(), 0, 50),
        ("generate", 200, 180, Framing(), 0, 150),
        ("cot", 1024, None, Framing(), 0, 256),
        ("cot", None, None, CHAT, 0, 2048),
        ("cot", 1024, None, CHAT, 0, 512),
        ("cot", None, None, Framing(template="chat", thinking=False), 0, 512),
        ("generate", None, None, Framing(template="chat", thinking=True), 0, 2048),
        ("generate", None, None, Framing(template="chat", thinking=True), 300, 428),
    ],
)
def test_limits_of_a_response(mode, limit, asked, framing, budget, tokens) -> None:
    settings = Settings("x", (mode,), framing, max_new_tokens=asked, thinking_budget=budget)
    assert settings.new_tokens(mode, limit) == tokens


def test_a_run_of_another_template_is_another_run(
    random_model, chat_tokenizer, sample_items, tmp_path
) -> None:
    from evaluation.local import LocalBackend

    model = copy.deepcopy(random_model[0])
    model.resize_token_embeddings(len(chat_tokenizer))
    backend = LocalBackend(model, chat_tokenizer, identity={"name": "one"})
    backend.describe = lambda: {"name": "one"}  # type: ignore[method-assign]
    settings = Settings("sample", ("letter",), CHAT)
    run(backend, sample_items[:2], settings, tmp_path)
    rows = read_parquet(tmp_path / "predictions.parquet").to_pylist()
    assert all(row["prompt"].endswith(f"assistant\n{EXAM_CUE}") for row in rows)
    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("%d", "Cutting: %d")
    with pytest.raises(UsageError, match="another run"):
        run(backend, sample_items[:2], settings, tmp_path)


def test_a_text_that_begins_with_a_special_token_gets_no_bos(chat_tokenizer) -> None:
    first = [ids[0] for ids in tokenize(chat_tokenizer, ["a", "<s>a", "<|turn|>a"])]
    known = chat_tokenizer.convert_tokens_to_ids(["<s>", "<s>", "<|turn|>"])
    assert first == known
