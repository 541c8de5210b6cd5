"""Duplicates: held to a brute-force comparison, on boilerplate-heavy text too, and to its laws."""

from __future__ import annotations

import html
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.mix.duplicates import (
    Duplicates,
    comparison_text,
    components,
    find_duplicates,
    preference,
)

THRESHOLD = 0.7


def grams(text: str) -> frozenset[tuple[str, ...]]:
    """The word 3-grams of a text, written down without the library."""
    words = re.findall(r"\w+", text.lower())
    if not words:
        return frozenset()
    return frozenset(tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def jaccard(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    return len(left & right) / max(1, len(left | right))


def table(outputs: list[str], **columns: object) -> pl.DataFrame:
    rows = len(outputs)
    given: dict[str, object] = {
        "id": [f"{index:06d}" for index in range(rows)],
        "instruction": ["Answer."] * rows,
        "input": ["question"] * rows,
        "output": outputs,
        "license": ["mit"] * rows,
    }
    return pl.DataFrame(given | columns, schema=dict.fromkeys(given, pl.String))


def true_pairs(frame: pl.DataFrame) -> dict[tuple[int, int], float]:
    """Every pair at or above the threshold, by comparing all of them."""
    sets = [grams(text) for text in comparison_text(frame)]
    pairs = (
        (i, j, jaccard(sets[i], sets[j])) for i, j in itertools.combinations(range(len(sets)), 2)
    )
    return {(i, j): value for i, j, value in pairs if value >= THRESHOLD - 1e-12}


def check(frame: pl.DataFrame, found: Duplicates) -> None:
    """The laws of a deduplication, against the brute-force pairs."""
    place = {value: row for row, value in enumerate(frame["id"])}
    true = true_pairs(frame)
    dropped = {place[value] for value in found.dropped_ids}
    assert found.dropped.height == len(dropped), "a row is dropped once"
    for left, right in true:
        assert left in dropped or right in dropped, "a pair of duplicates was left"
    for kept_id, dropped_id, value, kind in found.dropped[:, :4].iter_rows():
        pair = tuple(sorted((place[kept_id], place[dropped_id])))
        assert place[kept_id] not in dropped
        assert value == pytest.approx(true[pair])
        assert kind in {"exact", "near"}
        assert value == 1.0 or kind == "near"
    for left_id, right_id, value in found.pairs.iter_rows():
        assert value == pytest.approx(true[place[left_id], place[right_id]])
    label = list(range(frame.height))  # connected components, the slow way
    for left, right in true:
        old, new = label[left], label[right]
        label = [new if item == old else item for item in label]
    expected: dict[int, set[str]] = {}
    for row, item in enumerate(label):
        expected.setdefault(item, set()).add(frame["id"][row])
    groups = {frozenset(group) for group in expected.values() if len(group) > 1}
    mine = found.clusters.group_by("cluster").agg("id")["id"].to_list()
    assert {frozenset(group) for group in mine} == groups


def boilerplate_rows(seed: int, rows: int) -> list[str]:
    """Texts of which most words are one of a few greetings and closings, beside ordinary ones."""
    draw = random.Random(seed)
    words = [f"w{index}" for index in range(400)]
    frames = [" ".join(draw.choices(words, k=30)) for _ in range(4)]
    texts = []
    for _ in range(rows // 4):
        base = draw.choices(words, k=draw.randint(1, 40))
        texts.append(" ".join(base))
        for _ in range(draw.randint(0, 2)):
            copy = list(base)
            for _ in range(draw.randint(0, 4)):
                copy[draw.randrange(len(copy))] = draw.choice(words)
            texts.append(" ".join(copy))
    while len(texts) < rows:
        own = " ".join(draw.choices(words, k=draw.randint(1, 14)))
        texts.append(f"{draw.choice(frames)} {own} {draw.choice([*frames[:2], '', ''])}")
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_finds_what_brute_force_finds(seed: int) -> None:
    frame = table(boilerplate_rows(seed, 240))
    check(frame, find_duplicates(frame, facts=False))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), min_size=0, max_size=9), min_size=0, max_size=14),
)
def test_laws_on_any_small_table(texts: list[list[str]]) -> None:
    """Tiny vocabularies make every kind of tie, repetition and chain."""
    frame = table([" ".join(text) for text in texts])
    found = find_duplicates(frame, facts=False)
    check(frame, found)
    # Idempotence: what stays has no duplicate.
    stays = frame.filter(~pl.col("id").is_in(found.dropped_ids.to_list()))
    assert find_duplicates(stays, facts=False).dropped.is_empty()


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(draw: random.Random) -> None:
    frame = table(boilerplate_rows(3, 120))
    order = list(range(frame.height))
    draw.shuffle(order)
    assert find_duplicates(frame[order]).dropped.equals(find_duplicates(frame).dropped)


def test_case_space_and_punctuation_do_not_count() -> None:
    text = "The heart has four chambers."
    frame = table([text, "the  HEART has\nfour chambers", f"ＴＨＥ{text[3:-1]}!"])
    found = find_duplicates(frame)
    assert found.dropped["kind"].to_list() == ["exact", "exact"]
    assert found.dropped["jaccard"].to_list() == [1.0, 1.0]


def test_the_question_counts_and_a_blank_input_falls_back_to_the_instruction() -> None:
    frame = table(
        ["Yes.", "Yes.", "Yes.", "Yes."],
        instruction=["Is water wet?", "Is fire hot?", "Same text", "Same text"],
        input=["", " ", "Is ice cold?", "Is ice cold?"],
    )
    assert find_duplicates(frame).dropped["dropped_id"].to_list() == ["000003"]


def test_rows_without_a_word_are_equal_only_when_their_signs_are() -> None:
    frame = table(["!!!", "???", "!!! "], input=["→"] * 3)
    assert find_duplicates(frame).dropped[:, :4].rows() == [("000002", "000000", 1.0, "exact")]


def test_keeps_the_better_licence_then_the_longer_answer_then_the_smaller_id() -> None:
    text = "one two three four five six seven eight nine ten"
    frame = table(
        [text, f"{text}!", f"{text}!!", f"{text}!!", f"{text}!!!!"],
        license=["cc0-1.0", "cc0-1.0", "mit", "mit", "user-supplied"],
    )
    assert set(find_duplicates(frame).dropped["kept_id"]) == {"000002"}
    assert frame["id"][preference(frame)].to_list() == [
        "000002", "000003", "000001", "000000", "000004"
    ]  # fmt: skip


def test_a_chain_does_not_wipe_out_its_end() -> None:
    """a is like b and b is like c, but a is not like c: c stays."""
    words = [f"w{index}" for index in range(40)]
    first = " ".join(words)
    second = " ".join(words[5:] + [f"x{index}" for index in range(5)])
    third = " ".join(words[10:] + [f"x{index}" for index in range(10)])
    frame = table([first, second, third])
    sets = [grams(text) for text in comparison_text(frame)]
    assert jaccard(sets[0], sets[1]) >= THRESHOLD <= jaccard(sets[1], sets[2])
    assert jaccard(sets[0], sets[2]) < THRESHOLD
    found = find_duplicates(frame, facts=False)
    assert found.clusters["cluster"].n_unique() == 1
    check(frame, found)


def test_an_exact_copy_follows_its_original() -> None:
    words = " ".join(f"w{index}" for index in range(30))
    frame = table([f"{words} a", f"{words} a. And here is a longer end", f"{words} A."])
    found = find_duplicates(frame)
    assert found.dropped.select("kept_id", "dropped_id", "kind").rows() == [
        ("000001", "000000", "near"),
        ("000001", "000002", "near"),
    ]


def test_only_exact_duplicates_when_asked() -> None:
    words = " ".join(f"w{index}" for index in range(30))
    frame = table([words, f"{words} b", words.upper()])
    assert find_duplicates(frame, near=False).dropped["dropped_id"].to_list() == ["000002"]


def test_an_empty_table() -> None:
    frame = table([])
    found = find_duplicates(frame)
    assert found.dropped.columns[:4] == ["kept_id", "dropped_id", "jaccard", "kind"]
    assert found.dropped.is_empty()
    assert found.clusters.is_empty()


def test_components() -> None:
    left, right = np.array([4, 2, 7, 6]), np.array([3, 3, 8, 8])
    assert components(9, left, right).tolist() == [0, 1, 2, 2, 2, 5, 6, 6, 6]
    chain = np.arange(999)
    assert not components(1000, chain, chain + 1).any()


def test_a_flood_of_one_letter_ends_and_is_counted() -> None:
    """Ten thousand rows of one question that differ in a word: their pairs would not end."""
    letter = " ".join(f"w{index}" for index in range(40))
    frame = table([f"{letter} own{index}" for index in range(6000)] + ["a b c d", "a b c d e f"])
    found = find_duplicates(frame, threshold=0.5)
    assert found.crowded == 6000
    assert found.dropped["dropped_id"].to_list() == []


def real_texts(upstream: Path) -> list[tuple[str, str]]:
    """Questions and answers of the real fixtures, the boilerplate-heavy ones with more of it."""
    chatter = json.loads((upstream / "chatdoctor" / "chatdoctor5k.json").read_text())
    greeting = (
        "Hello and welcome to our site. Thank you for writing to us with your health question. I "
        "have read your message with care and understand your concern. "
    )
    closing = (
        " I hope this answers your question. Please feel free to ask if you have any further "
        "doubts. Wishing you good health and a speedy recovery. Regards, your doctor."
    )
    found = [(row["input"], row["output"]) for row in chatter]
    found += [(row["input"], f"{greeting}{row['output']}{closing}") for row in chatter[:1500]]
    notice = (
        "This question was closed as off-topic because it asks for a personal recommendation. You "
        "can edit the question so that it can be answered with facts and citations. "
    )
    for path in sorted((upstream / "stack_exchange").glob("s*_Posts.xml")):
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            if body := re.search(r' Body="([^"]*)"', line):
                text = " ".join(
                    html.unescape(re.sub(r"<[^>]+>", " ", html.unescape(body[1]))).split()
                )
                found.append((f"post {len(found)}", f"{notice}{text}" if len(found) % 2 else text))
    for line in (upstream / "medqa" / "questions_US_dev.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.append((row["question"], row["answer"]))
    return found


def variants(text: str, draw: random.Random) -> dict[str, str]:
    """Copies of a text as they occur: equal, respaced, reordered, reworded."""
    words = text.split(" ")
    sentences = re.split(r"(?<=[.?!])\s+", text)
    moved = sentences[1:] + sentences[:1] if len(sentences) > 2 else sentences
    reworded = list(words)
    for place in draw.sample(range(len(words)), len(words) // 10):
        reworded[place] = f"other{draw.randrange(1000)}"
    return {
        "copy": text,
        "case and space": f"  {text.upper()}\n".replace(" ", "  "),
        "one sentence moved": " ".join(moved),
        "a tenth of the words": " ".join(reworded),
    }


@pytest.mark.realdata
def test_planted_duplicates_in_real_text_are_found(upstream: Path) -> None:
    draw = random.Random(11)
    base = real_texts(upstream)
    rows, planted = list(base), []
    for number in draw.sample(range(len(base)), 2000):
        question, answer = base[number]
        copies = variants(answer, draw)
        kind = draw.choice(list(copies))
        planted.append((number, len(rows), kind))
        rows.append((question, copies[kind]))
    frame = table([answer for _, answer in rows], input=[question for question, _ in rows])
    found = find_duplicates(frame, facts=False)
    texts = comparison_text(frame).to_list()
    true = [
        (left, right, kind)
        for left, right, kind in planted
        if jaccard(grams(texts[left]), grams(texts[right])) >= THRESHOLD
    ]
    assert {kind for _, _, kind in true} == set(variants("A b. C d. E f.", draw))
    dropped = {int(value) for value in found.dropped_ids}
    missed = [pair for pair in true if pair[0] not in dropped and pair[1] not in dropped]
    assert len(true) > 1000
    assert len(missed) <= 0.001 * len(true), missed[:3]
    for one, other, value in found.pairs.iter_rows():
        exact = jaccard(grams(texts[int(one)]), grams(texts[int(other)]))
        assert exact >= THRESHOLD - 0.02, "words are split alike but for rare signs"
        assert value >= THRESHOLD - 1e-9
    # In one cluster, too, although a third text may have taken the place of both.
    cluster = dict(found.clusters.select("id", "cluster").rows())
    apart = [
        pair
        for pair in true
        if cluster.get(f"{pair[0]:06d}", 0) != cluster.get(f"{pair[1]:06d}", 1)
    ]
    assert len(apart) <= 0.001 * len(true)
    print(f"{len(rows)} rows, {len(true)} planted pairs, {len(missed)} missed, "
          f"{found.pairs.height} pairs, {found.dropped.height} dropped")  # fmt: skip
