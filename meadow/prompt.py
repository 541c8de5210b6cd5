"""The prompt templates: training and evaluation must send a model the same bytes.

`medalpaca` is the template of the 2023 project (always with an input block); `alpaca` is Stanford
Alpaca's to the byte, with and without an input, and `alpaca-lora` the one of that project, which
ends in a line break; `short` and `bare` spend few tokens, for tiny models; `chat` leaves the frame
to the tokenizer's own chat template, rendered once, with its date pinned: a prompt is the same text
on every day. What ends a response belongs to the frame as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from meadow.errors import UsageError

_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request."
)


class ChatTokenizer(Protocol):
    """What `chat` needs of a tokenizer."""

    chat_template: Any

    def get_chat_template(self) -> str:
        """The template's text."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        """Frame a conversation."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A training example as text: the model is shown `prompt` and learns `response`."""

    prompt: str
    response: str


def medalpaca(instruction: str, input: str = "") -> str:
    """The 2023 frame: the input block stands there even when it is empty."""
    return (
        f"{_WITH_INPUT}\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}"
        "\n\n### Response:\n"
    )


def alpaca(instruction: str, input: str = "") -> str:
    """Stanford Alpaca's frame: another primer and no input block where there is no input.

    The response follows the colon at once (PROMPT_DICT of tatsu-lab/stanford_alpaca, train.py).
    """
    return alpaca_lora(instruction, input).rstrip("\n")


def alpaca_lora(instruction: str, input: str = "") -> str:
    """The same with a line break before the response (tloen/alpaca-lora, templates/alpaca.json)."""
    if input:
        return medalpaca(instruction, input)
    return f"{_WITHOUT_INPUT}\n\n### Instruction:\n{instruction}\n\n### Response:\n"


def short(instruction: str, input: str = "") -> str:
    """A frame of a few tokens, for models with a context of a few hundred."""
    return f"{instruction}\n{input}\nAnswer:" if input else f"{instruction}\nAnswer:"


def bare(instruction: str, input: str = "") -> str:
    """The input alone, for tiny models that can tell the task by its input."""
    return f"{input or instruction}\nAnswer:"


TEMPLATES: dict[str, Callable[[str, str], str]] = {
    "medalpaca": medalpaca,
    "alpaca": alpaca,
    "alpaca-lora": alpaca_lora,
    "short": short,
    "bare": bare,
}
TEMPLATE_NAMES = (*TEMPLATES, "chat")
_NEXT_TASK = ("\n###", "\n\nBelow is an instruction")
STOPS = dict.fromkeys(("medalpaca", "alpaca", "alpaca-lora"), _NEXT_TASK)
"""Where a model that was trained in a frame goes on with a task of its own."""
TODAY = date(2024, 7, 26)
"""What a chat template is told that asks for the date: the day that Llama 3's falls back on."""


def render(
    template: str,
    instruction: str,
    input: str = "",
    *,
    tokenizer: ChatTokenizer | None = None,
    thinking: bool | None = None,
) -> str:
    """The text that stands before the response.

    Args:
        template: One of `TEMPLATE_NAMES`, or a text of one's own with {instruction} and {input}.
        instruction: What to do.
        input: What it is about; may be empty.
        tokenizer: Needed for `chat`.
        thinking: What a chat template that knows thinking is told; None: its own default.

    Raises:
        UsageError: The template is unknown, or the tokenizer has no chat template.
    """
    if template == "chat":
        text = f"{instruction}\n\n{input}" if input else instruction
        return render_chat(tokenizer, [{"role": "user", "content": text}], thinking=thinking)
    if "{" in template or "\n" in template:
        return _fill(template, instruction, input)
    try:
        frame = TEMPLATES[template]
    except KeyError:
        raise UsageError(
            f"unknown prompt template {template!r}", fix=f"one of {', '.join(TEMPLATE_NAMES)}"
        ) from None
    return frame(instruction, input)


_NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")


def pinned(template: str, today: date = TODAY) -> str:
    """A chat template that takes `today` for the date, whenever it is rendered."""
    dated = _NOW.sub(lambda m: f"'{today.strftime(m[2])}'", template)
    if "strftime_now(" in dated:  # with a form that is not written in its place
        dated = f"{{%- macro strftime_now(form) -%}}{today}{{%- endmacro -%}}{dated}"
    return dated


def render_chat(
    tokenizer: ChatTokenizer | None,
    conversation: list[dict[str, str]],
    *,
    thinking: bool | None = None,
    prompt: bool = True,
) -> str:
    """A conversation in the tokenizer's own frame, with `TODAY` for the date.

    Args:
        tokenizer: With a chat template.
        conversation: Turns of `role` and `content`.
        thinking: What the template is told; where it is False and the template opens thinking all
            the same, it is closed.
        prompt: Whether the beginning of the next answer stands at the end.

    Raises:
        UsageError: There is no chat template.
    """
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            "template chat needs a tokenizer with a chat template",
            fix=f"choose one of {', '.join(TEMPLATES)}",
        )
    # the templates' names for it: Qwen's, and DeepSeek's and Granite's
    told = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
    dated = pinned(tokenizer.get_chat_template())
    text = str(
        tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=prompt, chat_template=dated, **told
        )
    )
    if thinking is False and prompt and text.rstrip().endswith("<think>"):
        text = text.rstrip() + "\n\n</think>\n\n"
    return text


def stop_texts(template: str, tokenizer: Any = None) -> tuple[str, ...]:
    """The texts that end a response in a frame; for `chat` the special token that ends a turn."""
    if template != "chat":
        return STOPS.get(template, ())
    said = "\u27e6answer\u27e7"
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": said}]
    after = render_chat(tokenizer, turns, prompt=False).rpartition(said)[2].lstrip()
    known: dict[str, int] = tokenizer.get_added_vocab()
    return tuple(sorted((t for t in known if after.startswith(t)), key=len)[-1:])


_FIELD = re.compile(r"\{(instruction|input)\}")


def _fill(template: str, instruction: str, input: str) -> str:
    """A template of one's own; in one pass, so that braces in the texts stay what they are."""
    needed = ["{instruction}", *(["{input}"] if input else [])]
    if missing := [field for field in needed if field not in template]:
        raise UsageError(
            f"the template lacks {' and '.join(missing)}",
            where=template[:80],
            fix="add the field, or name one of " + ", ".join(TEMPLATE_NAMES),
        )
    values = {"instruction": instruction, "input": input}
    return _FIELD.sub(lambda match: values[match[1]], template)


def complete(prompt: str, response: str) -> str:
    """Prompt and response as one text.

    A space stands between them where the prompt ends in a visible character ("Answer:"), so that
    the response's first token is a word's beginning, in training as in scoring; but none in
    Stanford's frame, which has none.
    """
    ends = not prompt or prompt[-1].isspace() or prompt.endswith("### Response:")
    return prompt + ("" if ends else " ") + response


EXAM_INSTRUCTION = "Answer this multiple choice question."
EXAM_CUE = "The Answer to the question is:"


def exam_input(question: str, options: list[tuple[str, str]]) -> str:
    """A question with its options, each on its own line as "A: text": the 2023 evaluation's."""
    return question + "".join(f"\n{label}: {text}" for label, text in options)


def exam_prompt(
    template: str,
    question: str,
    options: list[tuple[str, str]],
    *,
    tokenizer: ChatTokenizer | None = None,
    cue: str = EXAM_CUE,
    remark: str = "",
    thinking: bool | None = None,
) -> str:
    """The 2023 exam prompt; it ends with the answer cue and no space.

    Args:
        template: As for `render`, like tokenizer and thinking.
        question: The stem.
        options: (label, text) as shown.
        tokenizer: For `chat`.
        cue: The beginning of the answer.
        remark: What else is asked, under the options.
        thinking: For `chat`.
    """
    asked = exam_input(question, options) + (remark and f"\n\n{remark}")
    framed = render(template, EXAM_INSTRUCTION, asked, tokenizer=tokenizer, thinking=thinking)
    return framed + cue
