"""Token rows: templates, masks, truncation, rejects, and the gates on a mix."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bases import make_tokenizer

from meadow.api import open_corpus
from meadow.corpus.manifest import Manifest, Shard
from meadow.corpus.shards import write_parquet
from meadow.errors import CheckError, FileError, RefusedError, UsageError
from meadow.exams.contamination import check_contamination
from meadow.models.frames import Learned, bind
from meadow.prompt import complete, render
from meadow.schema import join_turns
from training.config import Batch, Data
from training.data import (
    IGNORED,
    NO_TARGET,
    TOO_LONG,
    fit_row,
    frame_tokenizer,
    read_rows,
    texts_of,
    tokenize,
)

ROW = {
    "id": "a",
    "instruction": "Classify.",
    "input": "pain after surgery",
    "output": "yes",
    "source": "alpha",
}


@pytest.fixture
def tokenizer() -> Any:
    from meadow.models.random_base import make_tokenizer as learn

    rows = [ROW | {"input": f"pain after surgery in {word}"} for word in ("adults", "children")]
    return learn(texts_of(rows), 300, 512)


def decoded_targets(rows: Any, index: int, tokenizer: Any) -> str:
    labels = rows.labels(index)
    return str(tokenizer.decode([int(i) for i in labels if i != IGNORED]))


@pytest.mark.parametrize("template", ["alpaca", "medalpaca", "short", "{instruction}|{input}|"])
def test_completion_only_learns_exactly_the_answer(tokenizer, template) -> None:
    rows = tokenize([ROW], tokenizer, Data(template=template, length=400))
    assert decoded_targets(rows, 0, tokenizer).strip() == f"yes{tokenizer.eos_token}"
    prompt = render(template, ROW["instruction"], ROW["input"])
    whole = tokenizer.decode(rows.row(0).tolist())
    assert whole == tokenizer.bos_token + complete(prompt, "yes") + tokenizer.eos_token


def test_whole_sequence_loss_learns_all_but_the_first_token(tokenizer) -> None:
    rows = tokenize([ROW], tokenizer, Data(template="medalpaca", length=400, loss_on="all"))
    labels = rows.labels(0)
    assert labels[0] == IGNORED
    assert (labels[1:] == rows.row(0)[1:]).all()


def test_2023_has_no_bos_and_an_end_only_below_the_limit(tokenizer) -> None:
    data = Data(template="medalpaca", length=64, bos=False, loss_on="all", truncation="cut_end")
    bind(tokenizer, "medalpaca", bos=False)
    rows = tokenize([ROW], tokenizer, data)
    text = tokenizer(
        complete(render("medalpaca", ROW["instruction"], ROW["input"]), "yes"),
        add_special_tokens=False,
    )["input_ids"]
    assert len(text) > 64
    assert rows.row(0).tolist() == text[:64]
    assert rows.cut == 1
    long = tokenize([ROW], tokenizer, data.model_copy(update={"length": len(text) + 1}))
    assert long.row(0).tolist() == [*text, tokenizer.eos_token_id]
    exact = tokenize([ROW], tokenizer, data.model_copy(update={"length": len(text)}))
    assert exact.row(0).tolist() == text


def test_cut_prompt_keeps_the_answer_and_the_cue(tokenizer) -> None:
    row = ROW | {"input": "pain after surgery " * 60, "output": "yes in adults"}
    rows = tokenize([row], tokenizer, Data(template="short", length=64))
    assert len(rows.row(0)) == 64
    assert decoded_targets(rows, 0, tokenizer).strip() == f"yes in adults{tokenizer.eos_token}"
    assert "Answer:" in tokenizer.decode(rows.row(0).tolist())


def test_rows_without_a_target_are_counted_with_their_reason(tokenizer) -> None:
    long = ROW | {"id": "b", "input": "pain after surgery " * 60}
    cut = tokenize([ROW, long], tokenizer, Data(template="short", length=48, truncation="cut_end"))
    assert cut.rejected == [("b", NO_TARGET)]
    facts = cut.facts()
    assert facts["rows_in"] == facts["rows_out"] + sum(facts["rejected"].values())
    dropped = tokenize(
        [ROW, long], tokenizer, Data(template="short", length=48, truncation="reject")
    )
    assert dropped.rejected == [("b", TOO_LONG)]


@settings(max_examples=200, deadline=None)
@given(
    prompt=st.integers(0, 80),
    response=st.integers(0, 80),
    length=st.integers(8, 64),
    loss_on=st.sampled_from(["completion", "all"]),
    truncation=st.sampled_from(["cut_end", "cut_prompt", "reject"]),
)
def test_a_fitted_row_is_short_enough_and_learns_something(
    prompt, response, length, loss_on, truncation
) -> None:
    data = Data.model_validate({"length": length, "loss_on": loss_on, "truncation": truncation})
    whole = [1] * prompt + [2] * response + [9]
    made = fit_row(Learned(whole, [(prompt, len(whole))]), data)
    if isinstance(made, str):
        assert made in (NO_TARGET, TOO_LONG)
        return
    tokens, learned = made[0].tolist(), made[1].tolist()
    assert len(tokens) == len(learned) <= length
    assert any(learned)
    assert not learned[0]
    if loss_on == "completion":
        assert {token for token, kept in zip(tokens, learned, strict=True) if kept} <= {2, 9}
        assert 1 in tokens or prompt == 0
    if truncation == "cut_prompt" and response + 1 + min(prompt, length // 4) <= length:
        assert tokens.count(2) == response
    # an answer that was cut has no end: a model would learn to stop in the middle
    assert 9 not in tokens or tokens.count(2) == response


def test_the_end_goes_with_the_cut_end_of_an_answer(tokenizer) -> None:
    row = ROW | {"output": "yes in adults " * 60}
    for template in ("short", "medalpaca"):
        rows = tokenize([row], tokenizer, Data(template=template, length=64))
        assert rows.cut == 1
        assert tokenizer.eos_token_id not in rows.row(0)


def test_a_control_token_in_a_row_stays_text(tokenizer) -> None:
    row = ROW | {"input": "struck <s>out</s> here", "output": "no </s> end"}
    rows = tokenize([row], tokenizer, Data(template="short", length=200))
    ids = rows.row(0).tolist()
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.count(tokenizer.bos_token_id) == 1
    assert "struck <s>out</s> here" in tokenizer.decode(ids)


def test_turns_are_read_where_a_mix_has_them() -> None:
    chat = make_tokenizer("llama3")
    turns = [
        {"role": "user", "content": "pain?"}, {"role": "assistant", "content": "rest"},
        {"role": "user", "content": "and then?"}, {"role": "assistant", "content": "sleep"},
        {"role": "user", "content": "thanks"},
    ]  # fmt: skip
    data = Data(template="chat", length=400)
    rows = tokenize([ROW | {"messages": turns}, ROW | {"messages": None}], chat, data)
    assert decoded_targets(rows, 0, chat) == "rest<|eot_id|>sleep<|eot_id|>"
    assert decoded_targets(rows, 1, chat) == "yes<|eot_id|>"
    assert "thanks" not in chat.decode(rows.row(0).tolist())
    last = tokenize([ROW | {"messages": turns}], chat, data.model_copy(update={"turns": "last"}))
    assert decoded_targets(last, 0, chat) == "sleep<|eot_id|>"
    odd = [
        ROW | {"messages": turns[:1]},
        ROW | {"messages": [{"role": "assistant", "content": None}]},
    ]
    assert [reason for _, reason in tokenize(odd, chat, data).rejected] == [NO_TARGET] * 2


def test_turns_are_found_where_a_mix_has_no_column_for_them() -> None:
    chat = make_tokenizer("llama3")
    turns = ["pain?", "rest"]
    row = ROW | {
        "instruction": "and then?", "input": join_turns(turns), "output": "sleep",
        "meta": json.dumps({"turns": [len(turn) for turn in turns]}),
    }  # fmt: skip
    rows = tokenize([row], chat, Data(template="chat", length=400))
    assert decoded_targets(rows, 0, chat) == "rest<|eot_id|>sleep<|eot_id|>"
    assert chat.decode(rows.row(0).tolist()).count("<|start_header_id|>user") == 2


def test_the_plan_is_another_where_a_token_is_another(tokenizer) -> None:
    from training.packing import make_plan

    def made(row: dict[str, str], **data: Any) -> str:
        rows = tokenize([row], tokenizer, Data(template="short", length=64, **data))
        return make_plan(rows, Batch(examples=1), epochs=1, seed=0, row_tokens=64).hash(rows)

    assert made(ROW) == made(dict(ROW))
    assert made(ROW) != made(ROW | {"output": "no"})
    assert made(ROW) != made(ROW, loss_on="all")


def test_batching_the_tokenizer_changes_nothing(tokenizer) -> None:
    rows = [ROW | {"id": str(i), "input": "pain " * i} for i in range(20)]
    one = tokenize(rows, tokenizer, Data(length=128), batch=1)
    many = tokenize(rows, tokenizer, Data(length=128), batch=7)
    assert one.tokens.tolist() == many.tokens.tolist()
    assert one.learned.tolist() == many.learned.tolist()


def test_repeat_shows_a_source_more_often(mix, tokenizer) -> None:
    corpus = open_corpus(mix)
    once = list(read_rows(corpus, "train"))
    twice = tokenize(read_rows(corpus, "train", {"beta": 2}), tokenizer, Data(length=256))
    beta = sum(row["source"] == "beta" for row in once)
    assert len(twice) == len(once) + beta
    assert sum(copy == 1 for copy in twice.copies) == beta
    with pytest.raises(UsageError, match="gamma"):
        list(read_rows(corpus, "train", {"gamma": 2}))


def test_no_contamination_record_is_a_warning(mix) -> None:
    found = check_contamination(open_corpus(mix), allow=False)
    assert found["checked"] is False
    assert "no contamination record" in found["warning"]


def match(row_id: str, level: str) -> dict[str, Any]:
    return {"exam": "medqa", "item_id": "1", "row_id": row_id, "level": level, "score": 1.0,
            "matched": "text"}  # fmt: skip


RECORD = {"contamination": {"medqa": {"items": 10, "rows": {"stem": 1, "stem+answer": 0}}}}


def test_exam_items_in_the_mix_are_refused(make_mix) -> None:
    folder = make_mix()
    present = next(read_rows(open_corpus(folder), "train"))["id"]
    bad = make_mix(name="bad", details=RECORD, matches=[match(present, "stem")])
    with pytest.raises(RefusedError, match=r"medqa: 1 rows \(stem\)") as caught:
        check_contamination(open_corpus(bad), allow=False)
    assert caught.value.exit_code == 6
    allowed = check_contamination(open_corpus(bad), allow=True)
    assert allowed["allowed"] is True
    assert allowed["rows"] == {"medqa": {"stem": 1}}


def test_matches_that_the_mix_left_out_do_not_count(make_mix) -> None:
    folder = make_mix(details=RECORD, matches=[match("gone", "stem"), match("gone", "answer")])
    assert check_contamination(open_corpus(folder), allow=False)["rows"] == {}


def test_without_the_table_the_counts_decide(make_mix) -> None:
    with pytest.raises(RefusedError):
        check_contamination(open_corpus(make_mix(details=RECORD)), allow=False)


def test_a_mix_without_a_column_says_which(tmp_path) -> None:
    name = "data/small/train-00000-of-00001.parquet"
    (tmp_path / "data/small").mkdir(parents=True)
    write_parquet(pa.table({"id": ["a"], "instruction": ["b"]}), tmp_path / name)
    shard = Shard(path=name, rows=1, bytes=1, sha256="0" * 64)
    Manifest(
        stage="mix", config_hash="h", settings={}, configs={"small": {"train": (shard,)}}
    ).write(tmp_path)
    with pytest.raises(CheckError, match="column input is missing"):
        list(read_rows(open_corpus(tmp_path), "train"))


def test_a_damaged_shard_says_which(mix) -> None:
    shard = mix / "data/small/train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(FileError, match="cannot be read"):
        list(read_rows(open_corpus(mix), "train"))


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        ({"eos_token": None}, (), "no EOS token"),
        ({}, ("data.template=chat",), "chat template"),
        ({}, ("data.template='### {input}'",), r"lacks \{instruction\}"),
        ({}, ("data.template=alpacca",), "unknown prompt template"),
        ({"pad_token": None}, ("batch.layout=padded",), "no"),
    ],
)
def test_a_tokenizer_that_lacks_something_is_named(
    tokenizer, tiny, change, overrides, message
) -> None:
    for name, value in change.items():
        setattr(tokenizer, name, value)
    with pytest.raises(UsageError, match=message) as caught:
        frame_tokenizer(tokenizer, tiny(*overrides))
    assert caught.value.exit_code == 2
    assert caught.value.fix
