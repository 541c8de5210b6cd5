"""What becomes of a raw row by a source's TOML file. Nothing here depends on more than the row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meadow.licenses import LICENSES
from meadow.prompt import exam_input
from meadow.schema import (
    Author,
    Raw,
    Reason,
    Record,
    Refused,
    Style,
    Task,
    join_turns,
    make_record,
    normalise_key,
)
from meadow.source import Options
from meadow.sources.own import form
from meadow.sources.own.form import Filter, OwnSource, Repair
from meadow.sources.own.template import (
    Field,
    MissingField,
    Template,
    as_json,
    as_text,
    look_up,
    parse,
)
from meadow.text.clean import decode_escapes, without_stray_quotes

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class _Texts:
    """The templates of one style, taken apart."""

    instruction: Template
    input: Template
    output: Template


def converter(own: OwnSource) -> Callable[[Raw, Options], Record]:
    """What makes a record of a raw row, or raises `Refused`."""
    row, old_texts = own.row, own.style_2023
    asked = "{_last}" if own.chat else own.asked
    given = "{_earlier|}" if own.chat else row.input
    answer = "{_reply}" if own.chat else row.output
    texts = _Texts(*map(parse, (asked, given, answer)))
    old = _Texts(
        parse(old_texts.instruction or asked),
        parse(old_texts.input or given),
        parse(old_texts.output or answer),
    )
    tests = [(filter, _test(filter)) for filter in own.reject]
    repairs = [(repair, *_repair(repair)) for repair in own.repair]
    key = _key(own, texts)
    meta = {name: parse(text) for name, text in row.meta.items()}
    authors = [(parse(author.name), parse(author.url or ""), author.role) for author in row.authors]
    id, url, subset, license = (
        parse(text) if text is not None else None
        for text in (row.id, row.url, row.subset, row.license)
    )
    attributed = own.homepage if LICENSES[own.license].attribution or row.license else None

    def convert(raw: Raw, options: Options) -> Record:
        try:
            return made(raw, options.style is Style.PUBLISHED_2023)
        except MissingField as error:
            raise Refused(Reason.MISSING_FIELD, f"no {error}", _excerpt(raw)) from None
        except Refused as refused:
            raise Refused(refused.reason, refused.detail, _excerpt(raw)) from None

    def made(raw: Raw, as_published: bool) -> Record:
        for filter, test in tests:
            if test(look_up(raw, filter.column)):
                raise Refused(filter.reason, filter.why or f"{filter.column}: {_told(filter)}")
        values = dict(raw)
        done: list[str] = []
        facts: dict[str, Any] = {}
        shown: dict[str, str] = {}
        if own.options is not None:
            facts, shown = _options(values, raw, own.options, as_published, done)
        for repair, name, mend in repairs:
            if as_published and not repair.always:
                continue
            if repair.column == "options" and own.options is not None:
                facts["options"] = shown = _mended(facts["options"], mend, name, done)
            elif isinstance(text := look_up(values, repair.column), str):
                values |= _mended({repair.column: text}, mend, name, done)
        if own.options is not None:
            _show_options(values, shown, facts["answer"], as_published)
        for name, label in own.labels.items():
            values[name] = _labelled(label, values)
        if own.chat is not None:
            facts |= _with_turns(values, own.chat, done)
        chosen = old if as_published else texts
        instruction, given, answer = (
            text if as_published else text.strip()
            for text in (
                t.render(values) for t in (chosen.instruction, chosen.input, chosen.output)
            )
        )
        _check_texts(instruction, given, answer, chosen)
        for name, template in meta.items():
            if (value := template.value(values)) is not None:
                facts[name] = as_json(value)
        known = LICENSES[own.license]
        if license is not None:
            stated = license.render(values).strip()
            if stated.lower() not in LICENSES:
                raise Refused(Reason.LICENSE, f"the licence {stated!r} is not known")
            known = LICENSES[stated.lower()]
        named = [
            Author(name.render(values).strip(), link.render(values).strip() or None, role)
            for name, link, role in authors
        ]
        named = [author for author in named if author.name]
        place = (url.render(values).strip() if url is not None else attributed) or None
        if known.attribution and not (named and place):
            raise Refused(Reason.LICENSE, f"{known.key} asks for an author and an address")
        number = id.render(values).strip() if id is not None else None
        if number == "":
            raise MissingField("id")
        return make_record(
            source=own.name,
            source_id=number,
            key=None if number is not None else key({**values, **raw}, facts),
            instruction=instruction,
            input=given,
            output=answer,
            task=row.task,
            license=known.key,
            subset=(subset.render(values).strip() if subset else values.get("_subset")) or None,
            url=place,
            authors=named,
            meta=facts,
            repairs=done,
        )

    return convert


def _excerpt(raw: Raw) -> str:
    return str({name: value for name, value in raw.items() if not name.startswith("_")})


def _check_texts(instruction: str, given: str, answer: str, texts: _Texts) -> None:
    """Refuse a row whose answer is empty, or whose question is where it has one."""
    if not answer.strip():
        raise Refused(Reason.EMPTY_OUTPUT, "no output")
    if not instruction.strip():
        raise Refused(Reason.EMPTY_INPUT, "no instruction")
    needed = [field for field in texts.input.fields if not field.optional]
    if needed and not given.strip():
        raise Refused(Reason.EMPTY_INPUT, "no input")


def _key(own: OwnSource, texts: _Texts) -> Callable[[Raw, Mapping[str, Any]], tuple[str, ...]]:
    """What tells rows apart that have no id of their own.

    Without a `key`, the columns of what is asked; and of the answer where it is a text of its own,
    and no label: two labels of one text have to be seen as a conflict.
    """
    labelled = own.row.task in (Task.CLASSIFICATION, Task.MULTIPLE_CHOICE)
    if own.row.key:
        parts = [parse(text) for text in own.row.key]
    else:
        asked = (texts.instruction, texts.input, *(() if labelled else (texts.output,)))
        parts = [Template((field,)) for each in asked for field in each.fields]
    options = Template((Field(("options",), False),))

    def key(values: Raw, facts: Mapping[str, Any]) -> tuple[str, ...]:
        found: list[str] = []
        for part in dict.fromkeys(parts):
            if own.options is not None and part == options:
                shown = values["_options"]
                found += [f"{label}\x1e{shown[label]}" for label in sorted(shown)]
            else:
                found.append(part.render(values))
        return tuple(found)

    return key


def _told(filter: Filter) -> str:
    told = filter.model_dump(
        mode="json", exclude_defaults=True, exclude={"column", "reason", "why"}
    )
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _test(filter: Filter) -> Callable[[Any], bool]:
    """Whether a value is one for which its row is rejected."""
    if filter.missing:
        return lambda value: not as_text(value).strip()
    if filter.equals:
        return lambda value: as_text(value).strip() in filter.equals
    if filter.unless:
        return lambda value: as_text(value).strip() not in filter.unless
    if filter.matches:
        pattern = re.compile(filter.matches)
        return lambda value: pattern.search(as_text(value)) is not None
    if (least := filter.shorter_than) is not None:
        return lambda value: len(as_text(value).strip()) < least
    most = filter.longer_than or 0
    return lambda value: len(as_text(value).strip()) > most


def _repair(repair: Repair) -> tuple[str, Callable[[str], str]]:
    """What a repair is counted as, and what it does."""
    if repair.do is None:
        pattern = re.compile(repair.pattern)
        return repair.name, lambda text: pattern.sub(repair.replace, text)
    name, mend = {
        "whitespace": ("normalised_whitespace", normalise_key),
        "escapes": ("decoded_escapes", _decoded),
        "quotes": ("stray_quotation_mark", without_stray_quotes),
    }[repair.do]
    return repair.name or name, mend


def _decoded(text: str) -> str:
    """Characters for their numbers; each line with single spaces, since some of them are spaces."""
    decoded = decode_escapes(text)
    if decoded == text:
        return text
    return normalise_key(decoded) if "\n" not in text else "\n".join(
        normalise_key(line) for line in decoded.split("\n")
    )  # fmt: skip


def _mended(
    texts: Mapping[str, str], mend: Callable[[str], str], name: str, done: list[str]
) -> dict[str, str]:
    """The texts after a repair; it is noted, but not for blanks at the ends that go anyway."""
    mended = {key: mend(text) for key, text in texts.items()}
    exact = name == "normalised_whitespace"
    if any(
        mended[key] != text if exact else mended[key].strip() != text.strip()
        for key, text in texts.items()
    ):
        done.append(name)
    return mended


def _labelled(label: form.Label, values: Raw) -> str:
    value = look_up(values, label.column)
    if value is None:
        raise MissingField(repr(label.column))
    found = label.texts.get(as_text(value).strip(), label.other)
    if found is None:
        known = ", ".join(label.texts)
        detail = f"{label.column} {as_text(value)!r} is not one of {known}"
        raise Refused(Reason.UNKNOWN_LABEL, detail)
    return found


def _options(
    values: dict[str, Any], raw: Raw, told: form.Options, as_published: bool, done: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What `meta` says of the options, and the options as they are shown.

    The field `_options` is what a row is known by.
    """
    entries = _entries(raw, told)
    labels = told.labels
    if labels is None and (isinstance(told.columns, tuple) or all(n == "" for n, _ in entries)):
        labels = LETTERS
    right = _right(raw, told, entries, labels)
    stay = [
        number
        for number, (_, text) in enumerate(entries)
        if text is not None and (text.strip() or not told.drop_empty)
    ]
    if right not in stay:
        raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, "the right option has no text")
    if (labels is not None and len(stay) > len(labels)) or len(stay) > len(LETTERS):
        raise Refused(Reason.BAD_VALUE, f"{len(stay)} options")
    shown: dict[str, str] = {}
    for place, number in enumerate(stay):
        name, text = entries[number]
        label = labels[place] if labels is not None else name
        if not (text or "").strip() or label in shown:
            raise Refused(Reason.BAD_VALUE, f"option {label or place + 1} has no text or label")
        shown[label] = text or ""
        if number == right:
            answer = label
    trimmed = {label: text.strip() for label, text in shown.items()}
    if told.answer_text:
        stated = as_text(look_up(raw, told.answer_text) or "").strip()
        if stated and stated != trimmed[answer]:
            detail = f"answer text {stated!r} is not option {answer}: {trimmed[answer]!r}"
            raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail)
    if trimmed != shown and not as_published:
        done.append("trimmed_option")
    values["_options"] = trimmed
    return {"options": trimmed, "answer": answer}, shown if as_published else trimmed


def _show_options(
    values: dict[str, Any], shown: Mapping[str, str], answer: str, as_published: bool
) -> None:
    values["options"] = exam_input("", list(shown.items()))[1:]
    values["answer"] = f"{answer}: {shown[answer]}"
    values["answer_label"], values["answer_text"] = answer, shown[answer]
    if as_published:
        values["options_as_python"] = repr(dict(shown))


def _entries(raw: Raw, told: form.Options) -> list[tuple[str, str | None]]:
    """(name, text) of each option as the row has them; "" where it has no name."""
    if isinstance(told.columns, tuple):
        found: list[tuple[str, Any]] = [(name, look_up(raw, name)) for name in told.columns]
    else:
        value = look_up(raw, told.columns)
        if isinstance(value, Mapping):
            found = list(value.items())
        elif isinstance(value, list) and told.text:
            found = [
                (as_text(look_up(each, told.label)) if told.label else "", look_up(each, told.text))
                for each in value
                if isinstance(each, Mapping)
            ]
        elif isinstance(value, list):
            found = [("", each) for each in value]
        elif value is None:
            raise MissingField(repr(told.columns))
        else:
            detail = f"{told.columns} is neither a table nor a list (read.parse reads JSON texts)"
            raise Refused(Reason.BAD_VALUE, detail)
    if any(isinstance(text, Mapping | list | bool) for _, text in found):
        raise Refused(Reason.BAD_VALUE, "an option is not a text")
    if not found:
        raise Refused(Reason.MISSING_FIELD, "no options")
    return [(name, None if text is None else as_text(text)) for name, text in found]


def _right(
    raw: Raw,
    told: form.Options,
    entries: Sequence[tuple[str, str | None]],
    labels: Sequence[str] | None,
) -> int:
    """The place of the right option."""
    value = look_up(raw, told.answer)
    if value is None:
        raise MissingField(repr(told.answer))
    text = as_text(value).strip()
    if told.answer_is in ("index", "number"):
        try:  # "2.0" is a number of options, and "2.7" and "1e999" are none
            number = float(text)
            place = int(number) - (told.answer_is == "number") if number.is_integer() else -1
        except ValueError:
            place = -1
        if not 0 <= place < len(entries):
            detail = f"answer {text!r} is no {told.answer_is} of {len(entries)} options"
            raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail)
        return place
    by_label = told.answer_is == "label"
    for place, (name, option) in enumerate(entries):
        names = (name, *(labels or ())[place : place + 1])
        if text in names if by_label else option is not None and text == option.strip():
            return place
    found = ", ".join(name or str(place + 1) for place, (name, _) in enumerate(entries))
    detail = f"answer {text!r} is not among {found}"
    raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail)


def _with_turns(values: dict[str, Any], told: form.Chat, done: list[str]) -> dict[str, Any]:
    """Put the last exchange of a conversation and what was said before into the row."""
    messages = look_up(values, told.column)
    if not isinstance(messages, list):
        raise MissingField(repr(told.column))
    turns: list[str] = []
    system: list[str] = []
    for number, message in enumerate(messages):
        role = as_text(look_up(message, told.role)) if isinstance(message, Mapping) else ""
        text = as_text(look_up(message, told.content)).strip() if role else ""
        if role in told.system:
            system.append(text)
        elif role not in told.user and role not in told.assistant:
            raise Refused(Reason.BAD_VALUE, f"message {number + 1} is of role {role!r}")
        elif (role in told.assistant) == (len(turns) % 2 == 1):
            turns.append(text)
        elif not turns and told.opening == "drop":
            done.append("dropped_opening")
        elif not turns:
            raise Refused(Reason.NOT_A_TARGET, "the assistant speaks first")
        else:  # two messages of one speaker
            turns[-1] = f"{turns[-1]}\n\n{text}"
            done.append("joined_messages")
    if len(turns) % 2:
        turns.pop()
        done.append("unanswered_message")
    if not turns:
        raise Refused(Reason.EMPTY_OUTPUT, "no message is answered")
    if not all(turns):
        raise Refused(Reason.BAD_VALUE, "an empty message")
    *earlier, values["_last"], values["_reply"] = turns
    values["_earlier"] = join_turns(earlier)
    return {
        **({"turns": [len(turn) for turn in earlier]} if earlier else {}),
        **({"system": "\n\n".join(system)} if system else {}),
    }
