"""The frame is the tokenizer's: what is learned, BOS, control tokens, dates, stops and export."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bases import FORMATS, make_tokenizer

from meadow.errors import UsageError
from meadow.models.frames import (
    Learned,
    bind,
    jinja_frame,
    learned_turns,
    modelfile,
    opening,
    stop_ids,
    tokenize,
)
from meadow.prompt import TEMPLATES, complete, render, render_chat
from meadow.schema import with_reasoning

CHAT = sorted(name for name, how in FORMATS.items() if how.template)
ASKED = [{"role": "user", "content": "Sort the words.\n\nstroke aspirin"}]
SAID = [*ASKED, {"role": "assistant", "content": "aspirin stroke"}]
LONGER = [*SAID, {"role": "user", "content": "Again: sleep diet"},
          {"role": "assistant", "content": "diet sleep"}]  # fmt: skip


@pytest.fixture
def tokenizer(request) -> Any:
    return make_tokenizer(request.param)


def applied(tokenizer: Any, turns: Any, *, prompt: bool = False) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        turns, add_generation_prompt=prompt, return_dict=False
    )
    return ids


def only(tokenizer: Any, turns: Any, **options: Any) -> Learned:
    (made,) = learned_turns(tokenizer, [turns], **options)
    assert made is not None
    return made


@pytest.mark.parametrize("tokenizer", CHAT, indirect=True)
def test_what_is_learned_is_the_conversation_less_its_prompt(tokenizer) -> None:
    whole, prompt = applied(tokenizer, SAID), applied(tokenizer, ASKED, prompt=True)
    assert whole[: len(prompt)] == prompt
    bind(tokenizer, "chat")
    assert only(tokenizer, SAID) == Learned(whole, [(len(prompt), len(whole))])
    # and the prompt is, token for token, what evaluation sends
    assert tokenize(tokenizer, [render_chat(tokenizer, ASKED)]) == [prompt]


@pytest.mark.parametrize("tokenizer", CHAT, indirect=True)
def test_every_answer_of_a_conversation_is_learned_with_its_end(tokenizer) -> None:
    made = only(tokenizer, LONGER)
    assert made.tokens == applied(tokenizer, LONGER)
    assert len(made.spans) == 2
    for (first, end), said in zip(made.spans, ("aspirin stroke", "diet sleep"), strict=True):
        text = tokenizer.decode(made.tokens[first:end])
        assert said in text
        assert "Again" not in text
        assert made.tokens[:first] == applied(
            tokenizer, LONGER[: 1 if said[0] == "a" else 3], prompt=True
        )
    assert only(tokenizer, LONGER, last_only=True).spans == made.spans[1:]
    ends = {"gemma": "<end_of_turn>", "phi3": "<|end|>", "qwen3": "<|im_end|>"}
    if end_of_turn := ends.get(next(n for n in CHAT if FORMATS[n].template in _own(tokenizer))):
        learned = made.tokens[slice(*made.spans[0])]
        assert tokenizer.convert_tokens_to_ids(end_of_turn) in learned


def _own(tokenizer: Any) -> str:
    return str(tokenizer.chat_template)


def test_an_empty_block_of_thinking_is_learned() -> None:
    tokenizer = make_tokenizer("qwen3")
    made = only(tokenizer, SAID)
    assert tokenizer.decode(made.tokens[slice(*made.spans[0])]).startswith("<think>\n\n</think>")


@pytest.mark.parametrize("tokenizer", sorted(FORMATS), indirect=True)
@pytest.mark.parametrize("template", ["alpaca", "alpaca-lora", "medalpaca", "short", "bare",
                                      "Q {instruction} | {input} => "])  # fmt: skip
@pytest.mark.parametrize("bos", [True, False])
def test_a_saved_tokenizer_renders_the_frame_that_was_trained_in(
    tokenizer, template, bos, tmp_path
) -> None:
    from transformers import AutoTokenizer

    habit = opening(tokenizer) if bos else []
    bind(tokenizer, template, bos=bos)
    tokenizer.save_pretrained(tmp_path)
    saved: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert opening(saved) == habit
    assert habit == [] or habit == [saved.bos_token_id]
    both = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "b a"}]
    alone = [{"role": "user", "content": "Sort."}]
    for turns, prompt in ((both, render(template, "Sort.", "b a")),
                          (alone, render(template, "Sort."))):  # fmt: skip
        begin = saved.bos_token if habit else ""
        assert render_chat(saved, turns) == begin + prompt
        # trained, evaluated and served alike
        assert applied(saved, turns, prompt=True) == tokenize(saved, [prompt])[0]
        answer = {"role": "assistant", "content": "a b"}
        end = saved.eos_token
        assert render_chat(saved, [*turns, answer], prompt=False) == (
            begin + complete(prompt, "a b") + end
        )


@settings(max_examples=50, deadline=None)
@given(
    instruction=st.text(min_size=1),
    text=st.text(min_size=1),
    name=st.sampled_from(sorted(TEMPLATES)),
)
def test_a_frame_as_jinja_is_the_frame(instruction, text, name) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    turns = [{"role": "system", "content": instruction}, {"role": "user", "content": text}]
    made: Any = render_jinja_template([turns], chat_template=jinja_frame(name, bos=False))
    assert made[0] == [render(name, instruction, text)]


@pytest.mark.parametrize("tokenizer", CHAT, indirect=True)
def test_a_control_token_in_a_text_stays_text(tokenizer) -> None:
    control = tokenizer.eos_token
    turns = [{"role": "user", "content": f"What does {control} mean?"}, SAID[1]]
    plain = [{"role": "user", "content": "What does it mean?"}, SAID[1]]
    made, usual = only(tokenizer, turns), only(tokenizer, plain)
    eos = tokenizer.eos_token_id
    assert made.tokens.count(eos) == usual.tokens.count(eos)
    assert control in tokenizer.decode(made.tokens[: made.spans[0][0]])


def test_a_date_is_the_recipes_and_a_system_prompt_stands_in_front() -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}"
        "{% if loop.first %} {{ strftime_now('%d %b %Y') }}{% endif %}<|end_header_id|>"
        "{{ m['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
    )
    bind(tokenizer, "chat", system='Say "so".\nBe brief.', today=date(2025, 3, 1))
    text = render_chat(tokenizer, ASKED)
    assert 'system 01 Mar 2025<|end_header_id|>Say "so".\nBe brief.<|eot_id|>' in text
    own = [{"role": "system", "content": "Else."}, *ASKED]
    assert "brief" not in render_chat(tokenizer, own)
    assert "strftime_now" not in tokenizer.chat_template


def test_a_template_that_contradicts_itself_is_named_with_its_tokens() -> None:
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}model: {% endif %}"
    )
    with pytest.raises(UsageError, match=r"at token [0-9]+ the whole goes on with .*'a") as caught:
        bind(tokenizer, "chat")
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_reasoning_is_learned_whole_or_the_template_is_refused() -> None:
    tokenizer = make_tokenizer("llama3")
    said = with_reasoning("aspirin is a drug", "aspirin stroke")
    turns = [*ASKED, {"role": "assistant", "content": said}]
    bind(tokenizer, "chat")
    made = only(tokenizer, turns)
    (span,) = made.spans
    learned = tokenizer.decode(made.tokens[slice(*span)])
    assert learned.startswith("<think>\naspirin is a drug\n</think>\n\naspirin stroke")
    plain = tokenizer.chat_template
    cut = "(m['content'].split('</think>') | last)"
    tokenizer.chat_template = re.sub(
        r"(m|message)\['content'\]", lambda f: cut.replace("m[", f"{f[1]}["), plain
    )
    assert tokenizer.chat_template != plain
    with pytest.raises(UsageError, match="leaves out the reasoning") as caught:
        learned_turns(tokenizer, [turns])
    assert caught.value.fix
    assert only(tokenizer, SAID)


def test_a_template_that_rewrites_earlier_answers_says_so() -> None:
    tokenizer = make_tokenizer("qwen3")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<think>\n\n</think>\n\n{{", "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{"
    )
    bind(tokenizer, "chat")
    with pytest.raises(UsageError, match="otherwise than its prompt") as caught:
        learned_turns(tokenizer, [LONGER])
    assert "data.turns" in str(caught.value.fix)
    assert len(only(tokenizer, LONGER, last_only=True).spans) == 1


def test_a_template_that_takes_no_system_turn_refuses_a_system_prompt() -> None:
    tokenizer = make_tokenizer("gemma")
    plain = tokenizer.chat_template
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + plain
    )
    with pytest.raises(UsageError, match="no system role"):
        bind(tokenizer, "chat", system="Be brief.")
    tokenizer.chat_template = plain.replace(
        "{% elif message['role'] == 'system' %}<start_of_turn>user\n{{ message['content'] }}",
        "{% elif message['role'] == 'system' %}<start_of_turn>user\n",
    )
    with pytest.raises(UsageError, match="leaves the system prompt out"):
        bind(tokenizer, "chat", system="Be brief.")


def test_no_template_is_a_message() -> None:
    with pytest.raises(UsageError, match="chat template"):
        bind(make_tokenizer("gpt2"), "chat")


@pytest.mark.parametrize("tokenizer", CHAT, indirect=True)
def test_the_tokens_that_stop_are_eos_and_the_end_of_a_turn(tokenizer) -> None:
    bind(tokenizer, "chat")
    made = only(tokenizer, SAID)
    stops = stop_ids(tokenizer, "chat")
    answer = made.tokens[slice(*made.spans[0])]
    assert set(stops) & set(answer)
    assert tokenizer.eos_token_id in stops


@pytest.mark.parametrize("tokenizer", CHAT, indirect=True)
def test_a_modelfile_fills_in_to_the_frame(tokenizer) -> None:
    bind(tokenizer, "chat")
    made = modelfile(tokenizer, "chat", "./model.gguf")
    assert made.startswith('FROM ./model.gguf\nTEMPLATE """')
    frame = re.search(r'"""(.*)"""', made, re.S)
    assert frame is not None
    text = re.sub(r"\{\{ if \.System \}\}.*?\{\{ else \}\}(.*?)\{\{ end \}\}", r"\1", frame[1],
                  flags=re.S)  # fmt: skip
    asked = text.partition("{{ .Response }}")[0].replace("{{ .Prompt }}", ASKED[0]["content"])
    assert (tokenizer.bos_token or "") + asked in (
        render_chat(tokenizer, ASKED),
        (tokenizer.bos_token or "") + render_chat(tokenizer, ASKED),
    )
    stops = re.findall(r'PARAMETER stop "(.*)"', made)
    assert {tokenizer.convert_tokens_to_ids(stop) for stop in stops} == set(
        stop_ids(tokenizer, "chat")
    )


def test_the_modelfile_of_a_plain_frame_stops_at_the_next_task() -> None:
    tokenizer = make_tokenizer("llama2")
    bind(tokenizer, "alpaca")
    made = modelfile(tokenizer, "alpaca")
    assert "### Instruction:\n{{ .System }}\n\n### Input:\n{{ else }}" in made
    assert 'PARAMETER stop "\\n###"' in made
    assert 'PARAMETER stop "</s>"' in made
    assert "<s>" not in made


def test_stanfords_frame_goes_on_behind_the_colon() -> None:
    prompt = render("alpaca", "Name a drug.")
    assert complete(prompt, "Aspirin").endswith("\n\n### Response:Aspirin")
    assert prompt.startswith("Below is an instruction that describes a task. Write")
    assert complete(render("alpaca-lora", "Name", "it"), "A").endswith("### Response:\nA")
