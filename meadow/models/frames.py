"""The frame belongs to the tokenizer: what is trained in is what every server sends.

`bind` makes a tokenizer carry a run's frame: its chat template renders it (a plain frame too, and
with the run's date and system prompt), and it puts BOS in front of a text exactly where training
did. Saved with the model, it tells evaluation, transformers, vLLM and llama.cpp the same.

BOS has one rule, in training, in evaluation and on a server: a chat template writes it, or does
not; in front of any other text stands what the tokenizer puts there by itself. So no prompt has
two, and a model whose tokenizer adds none (GPT-NeoX, Phi-3, OLMo 2) is not trained on one.

What is learned of a conversation is the difference between it and its prompt: an answer with
whatever the template puts around it, an empty block of thinking and the end of the turn included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from meadow.errors import UsageError
from meadow.prompt import TODAY, complete, pinned, render, render_chat, stop_texts
from meadow.schema import split_reasoning

Turn = Mapping[str, str]
"""`role` and `content`."""
SYSTEM, USER, ANSWER = "\u27e6system\u27e7", "\u27e6user\u27e7", "\u27e6answer\u27e7"
"""Stand for texts where the parts of a frame are told apart."""


@lru_cache(maxsize=8)
def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that a tokenizer takes for control tokens."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    begin = getattr(tokenizer, "bos_token", None)
    return tuple(token.content for token in added if token.special) + ((begin,) if begin else ())


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, for training, scoring, counting and generation alike.

    A text that begins with a special token brings its frame along, BOS included, as chat templates
    do; any other gets what the tokenizer adds by itself. So no prompt has two BOS.
    """
    framed = special_tokens(tokenizer)
    if not any(text.startswith(framed) for text in texts):
        ids: list[list[int]] = tokenizer(list(texts))["input_ids"] if texts else []
        return ids
    return [
        tokenizer(text, add_special_tokens=not text.startswith(framed))["input_ids"]
        for text in texts
    ]


def opening(tokenizer: Any) -> list[int]:
    """What a tokenizer puts in front of a text by itself: BOS, or nothing."""
    whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = (i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return list(whole[: next(starts, 0)])


def bind(
    tokenizer: Any, template: str, *, bos: bool = True, system: str = "", today: date = TODAY
) -> None:
    """Let a tokenizer carry a frame.

    Args:
        tokenizer: Changed: its chat template, and whether it adds BOS.
        template: As for `meadow.prompt.render`.
        bos: Whether BOS stands in front of a plain frame where the tokenizer puts one; a chat
            template decides for itself.
        system: What a conversation without a system turn begins with; for `chat`.
        today: What a chat template that prints a date prints.

    Raises:
        UsageError: There is no chat template for `chat`, it takes no system turn, or a conversation
            does not begin with its prompt.
    """
    if template == "chat":
        render_chat(tokenizer, [_turn("user", USER)])  # whether there is one
        own = pinned(tokenizer.get_chat_template(), today)
        tokenizer.chat_template = _with_system(system) + own if system else own
        bos = _prompt_of(tokenizer, [_turn("user", USER)]).startswith(special_tokens(tokenizer))
        if system.strip() not in _prompt_of(tokenizer, [_turn("user", USER)]):
            raise UsageError(
                "the chat template leaves the system prompt out",
                where=_name(tokenizer),
                fix="leave data.system empty, and say it in the instruction",
            )
    else:
        tokenizer.chat_template = jinja_frame(template, bos=bos and bool(opening(tokenizer)))
    if not bos and opening(tokenizer):
        # transformers' switch; the saved tokenizer and llama.cpp's converter follow it
        tokenizer.add_bos_token = False
    if template == "chat":
        learned_turns(tokenizer, [[_turn("user", "Is it so?"), _turn("assistant", "It is.")]])


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", ""))


def _prompt_of(tokenizer: Any, conversation: Sequence[Turn]) -> str:
    """A conversation with the beginning of the next answer, as text."""
    import jinja2

    try:
        return render_chat(tokenizer, [dict(turn) for turn in conversation])
    except jinja2.TemplateError as error:
        raise UsageError(
            f"the chat template refuses the conversation: {error}",
            where=_name(tokenizer),
            fix="leave data.system empty where it knows no system turn",
        ) from error


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _with_system(system: str) -> str:
    first = f"[{{'role': 'system', 'content': {_quoted(system)}}}]"
    return (
        "{%- if messages[0]['role'] != 'system' -%}{%- set messages = "
        f"{first} + messages -%}}{{%- endif -%}}"
    )


def jinja_frame(template: str, *, bos: bool) -> str:
    """A plain frame as a chat template.

    A user's turn is the instruction; behind a system turn it is the input, and the system turn the
    instruction. Every answer ends with EOS.
    """

    def printed(text: str) -> str:
        parts = re.split(f"({SYSTEM}|{USER})", text)
        names = {SYSTEM: "held.text", USER: "message['content']"}
        return "".join(f"{{{{ {names.get(p) or _quoted(p)} }}}}" for p in parts if p)

    alone = printed(render(template, USER))
    both = printed(render(template, SYSTEM, USER))
    joint = complete(render(template, USER), ANSWER).partition(ANSWER)[0]
    joint = joint.removeprefix(render(template, USER))
    return (
        ("{{ bos_token }}" if bos else "")
        + "{% set held = namespace(text='') %}{% for message in messages %}"
        "{% if message['role'] == 'system' %}{% set held.text = message['content'] %}"
        "{% elif message['role'] == 'user' %}{% if held.text %}" + both
        + "{% set held.text = '' %}{% else %}" + alone + "{% endif %}"
        "{% else %}" + (printed(joint) if joint else "")
        + "{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Learned:
    """A conversation as tokens."""

    tokens: list[int]  # all of it
    spans: list[tuple[int, int]]  # (first, end) of what is learned of each of its answers, in order


def learned_turns(
    tokenizer: Any, conversations: Sequence[Sequence[Turn]], *, last_only: bool = False
) -> list[Learned | None]:
    """What is learned of conversations in a tokenizer's own chat template.

    Each answer is the difference between `apply_chat_template` of the conversation through it and
    of what stands before it with `add_generation_prompt`, as tokens. A token that spans the border
    belongs to the answer. Control tokens that stand in a turn's own text stay text.

    Each conversation ends with an assistant's turn; `last_only` learns that one alone.

    Returns:
        One entry each; None where a control token's text cannot be kept apart from the token.

    Raises:
        UsageError: The template renders an answer otherwise once the conversation goes on, so that
            what it learned would not be what it is shown; or it leaves out a reasoning.
    """
    wholes: list[Any] = [list(map(dict, turns)) for turns in conversations]
    answers: list[tuple[int, int]] = []
    for place, turns in enumerate(wholes):
        own = [(place, i) for i, turn in enumerate(turns) if turn["role"] == "assistant"]
        answers += own[-1:] if last_only else own
    full = _apply(tokenizer, wholes, prompt=False)
    before = _apply(tokenizer, [wholes[place][:i] for place, i in answers], prompt=True)
    earlier = [(place, i) for place, i in answers if i + 1 < len(wholes[place])]
    through = _apply(tokenizer, [wholes[place][: i + 1] for place, i in earlier], prompt=False)
    until = dict(zip(earlier, through, strict=True))
    found = [None if tokens is None else Learned(tokens, []) for tokens in full]
    known = set(tokenizer.all_special_ids)
    for (place, i), prompt in zip(answers, before, strict=True):
        made, said = found[place], until.get((place, i), full[place])
        if made is None or prompt is None or said is None:
            found[place] = None
            continue
        first = common_prefix(made.tokens, prompt)
        if first < len(prompt) and not _begins(tokenizer, wholes[place], wholes[place][:i]):
            raise _differs(tokenizer, made.tokens, prompt, first)
        end = common_prefix(made.tokens, said)
        if end <= first or not set(said[end:]) <= known:
            raise _differs(tokenizer, made.tokens, said, end)
        made.spans.append((first, end))
    return found


def _apply(
    tokenizer: Any, conversations: Sequence[list[dict[str, str]]], *, prompt: bool
) -> list[list[int] | None]:
    """`apply_chat_template` of each as ids; None where a control token cannot be kept text."""
    if not conversations:
        return []
    told = {"add_generation_prompt": prompt}
    texts = tokenizer.apply_chat_template(list(conversations), tokenize=False, **told)
    for text, turns in zip(texts, conversations, strict=True):
        reasoning, _ = split_reasoning(turns[-1]["content"] if turns else "")
        if reasoning is not None and reasoning not in text:
            raise UsageError(
                "the chat template leaves out the reasoning of an answer: bare answers would be "
                "learned",
                where=str(getattr(tokenizer, "name_or_path", "")),
                fix="give the base a template that keeps it, choose another data.template, or mix "
                "rows without reasoning",
            )
    found: list[list[int] | None] = list(tokenizer(texts, add_special_tokens=False)["input_ids"])
    control = control_tokens(tokenizer)
    for place, turns in enumerate(conversations):
        if any(control.search(turn["content"]) for turn in turns):
            try:
                found[place] = tokenizer.apply_chat_template(
                    turns, return_dict=False, sanitize_control_tokens=True, **told
                )
            except ValueError:
                found[place] = None
    return found


@lru_cache(maxsize=8)
def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Finds the text of a control token."""
    longest = sorted(set(special_tokens(tokenizer)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)) or "(?!)")


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts share at their beginning."""
    shorter = min(len(left), len(right))
    return next((index for index in range(shorter) if left[index] != right[index]), shorter)


def _begins(tokenizer: Any, whole: list[dict[str, str]], head: list[dict[str, str]]) -> bool:
    """Whether a conversation begins with its prompt as text: only a token spans the border."""
    text = tokenizer.apply_chat_template(whole, tokenize=False)
    prompt = tokenizer.apply_chat_template(head, tokenize=False, add_generation_prompt=True)
    return bool(text.startswith(prompt))


def _differs(tokenizer: Any, whole: list[int], part: list[int], place: int) -> UsageError:
    def shown(tokens: list[int]) -> list[str]:
        found: list[str] = tokenizer.convert_ids_to_tokens(tokens[place : place + 6])
        return found

    return UsageError(
        f"the chat template renders a conversation otherwise than its prompt: at token {place} the "
        f"whole goes on with {shown(whole)}, its beginning alone with {shown(part)}",
        where=_name(tokenizer),
        fix='set data.turns = "last" where it rewrites earlier answers, or choose another template',
    )


def stop_ids(tokenizer: Any, template: str) -> list[int]:
    """The tokens that end a response in a frame: EOS, and what ends a turn."""
    known: dict[str, int] = tokenizer.get_added_vocab()
    ends = {known[text] for text in stop_texts(template, tokenizer) if text in known}
    return sorted(ends | {tokenizer.eos_token_id})


def pad_token(tokenizer: Any, named: int | None = None) -> int:
    """The id that fills padded rows: the one that is named, else the tokenizer's.

    Raises:
        UsageError: Neither is there.
    """
    for found in (named, tokenizer.pad_token_id):
        if found is not None:
            return int(found)
    raise UsageError(
        "a padded layout needs a pad token, and the tokenizer has none",
        where=_name(tokenizer),
        fix='name one: data.pad_token_id = 0, or use batch.layout = "packed"',
    )


def set_stops(model: Any, tokenizer: Any, template: str) -> None:
    """Let a model's saved settings end a response where the frame ends it, beside its own ends."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [] if own is None else [own]
    model.generation_config.eos_token_id = sorted({*own, *stop_ids(tokenizer, template)})


def modelfile(tokenizer: Any, template: str, weights: str = ".") -> str:
    """A Modelfile for Ollama: where the weights are, the frame in Go's syntax, and its stops.

    BOS is not in it: llama.cpp adds that by the tokenizer's own rule.
    """
    asked = [_turn("user", USER)]
    bos = tokenizer.bos_token or ""
    before, after = _prompt_of(tokenizer, asked).removeprefix(bos).split(USER)
    try:
        told = _prompt_of(tokenizer, [_turn("system", SYSTEM), *asked]).removeprefix(bos)
        head, between, tail = re.split(f"{SYSTEM}|{USER}", told)
        before = _either(f"{head}{{{{ .System }}}}{between}", before)
        after = after if after == tail else _either(tail, after)
    except (UsageError, ValueError):
        pass  # the frame has no place for a system prompt
    stops = [*stop_texts(template, tokenizer), tokenizer.eos_token]
    end = stops[0] if template == "chat" else tokenizer.eos_token
    frame = f"{before}{{{{ .Prompt }}}}{after}{{{{ .Response }}}}{end}"
    named = [f"PARAMETER stop {_quoted(stop)}" for stop in dict.fromkeys(stops)]
    return "\n".join([f"FROM {weights}", f'TEMPLATE """{frame}"""', *named]) + "\n"


def _either(told: str, untold: str) -> str:
    return f"{{{{ if .System }}}}{told}{{{{ else }}}}{untold}{{{{ end }}}}"
