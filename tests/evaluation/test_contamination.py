"""A model's own contamination: a set that was learned by heart falls behind others of its set."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from click.testing import CliRunner

from evaluation.cli import evaluate
from evaluation.contamination import (
    CUE,
    Shift,
    compare_sets,
    describe,
    item_text,
    shifts,
    verdict,
)
from meadow.errors import UsageError
from meadow.exams.items import ExamItem, item_id

TEXT = """
little big red blue happy sad small old dog cat bird tree house ball box girl boy friend park day
water flower sun garden toy car fish
"""
WORDS = TEXT.split()


def invented(name: str, count: int, words: int = 10) -> list[ExamItem]:
    draw = random.Random(name)
    found = []
    for _ in range(count):
        question = f"The {' '.join(draw.choices(WORDS, k=words))} . What did they see?"
        options = tuple((label, " ".join(draw.choices(WORDS, k=2))) for label in "AB")
        found.append(
            ExamItem(name, item_id(question, options), question, options, draw.choice("AB"))
        )
    return found


def test_a_learned_set_falls_and_an_unseen_one_of_its_form_does_not(stories) -> None:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from evaluation.local import LocalBackend

    model, tokenizer = copy.deepcopy(stories[0]), stories[1]
    seen, control = invented("seen", 24), invented("control", 24)

    def measured() -> dict[str, Any]:
        return compare_sets(LocalBackend(model, tokenizer, method="plain"), seen, control, before=3)

    before = measured()
    assert before["set"]["falling"]["value"] < 0.2
    assert before["difference"]["ci95"][0] <= 0
    assert "no evidence" in before["verdict"]

    ids = [torch.tensor(tokenizer(CUE + item_text(item))["input_ids"]) for item in seen]
    inputs, labels = pad_sequence(ids, True, 0), pad_sequence(ids, True, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        model(
            input_ids=inputs, attention_mask=(labels != -100).long(), labels=labels
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()

    after = measured()
    assert after["set"]["falling"]["value"] > 0.9
    assert after["set"]["shift"]["ci95"][1] < 0
    assert after["difference"]["ci95"][0] > 0
    assert "evidence, not proof" in after["verdict"]


def test_fewer_stand_in_front_where_the_context_is_short(local) -> None:
    items = invented("short", 5)
    one = local().count(CUE + item_text(items[0]))
    found = shifts(local(max_length=int(2.6 * one)), items, before=4)
    assert {shift.before for shift in found} == {1}
    assert [shift.item_id for shift in found] == [item.item_id for item in items]
    assert shifts(local(max_length=one + 5), items) == []
    with pytest.raises(UsageError, match="context"):
        describe([], 5)
    with pytest.raises(UsageError, match="another one"):
        shifts(local(), items[:1])


def test_the_draw_is_by_seed(local) -> None:
    items = invented("drawn", 6)
    first = shifts(local(), items, before=2, seed=1)
    assert shifts(local(), items, before=2, seed=1) == first
    assert shifts(local(), items, before=2, seed=2) != first


def test_figures_have_their_intervals() -> None:
    found = [Shift(str(n), 4, -1.0 if n < 15 else 1.0) for n in range(20)]
    figures = describe(found, 22)
    assert (figures["items"], figures["scored"]) == (22, 20)
    assert figures["falling"]["value"] == 0.75
    low, high = figures["falling"]["ci95"]
    assert 0.5 < low < 0.75 < high < 1
    assert "cannot be weighed" in verdict(figures, None, None)


def test_the_command_says_it_beside_a_control(random_folder, tmp_path) -> None:
    control = tmp_path / "control.jsonl"
    rows = [
        {"question": item.question, "options": dict(item.options), "answer": item.answer}
        for item in invented("control", 4)
    ]
    control.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = ["contamination", "--model", str(random_folder), "--exam", "sample", "--json",
                 "--limit", "4", "--before", "1", "--control", str(control)]  # fmt: skip
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["set"]["items"] == document["control"]["items"] == 4
    assert len(document["difference"]["ci95"]) == 2
    assert "evidence" in document["verdict"]
