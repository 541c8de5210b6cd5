"""Rows as columns and rows one by one: the same outcome, whatever stands in them."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from meadow.build.block_admission import admit_block
from meadow.build.transform import Rules, decide, to_arrow
from meadow.schema import Block, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Options, OriginName

pieces = st.sampled_from(
    [
        *(
            "Aspirin 10 mg",
            "caf\u00e9",
            "cafe\u0301",
            "\u00c3\u00a9",
            "\u00a0",
            "\u2009",
            "\u200b",
            "\ufeff",
        ),
        *(
            " ",
            "\n",
            "\n\n\n",
            " \n",
            "\t",
            "\r\n",
            "\x07",
            "\x85",
            "\u2028",
            "??",
            "isn??t",
            "\ufffd",
            "x",
        ),
        *(
            "<br>",
            "a@b.example",
            "\u03b1-\u03b2",
            "\u1e9b\u0323",
            "\u2126",
            "\u00b2",
            "\u65e5\u672c",
        ),
    ]
)
texts = st.one_of(st.lists(pieces, max_size=6).map("".join), st.text(max_size=12))


def record(number: int, question: str, answer: str, source: str) -> Record:
    return make_record(
        source=source,
        source_id=str(number),
        instruction="Write a title.",
        input=question,
        output=answer,
        task=Task.SUMMARIZATION,
        license="cc-by-4.0",
        url=f"https://example.org/{number}",
    )


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(texts, texts, st.booleans()), max_size=12),
    st.sampled_from(["cord19", "chatdoctor", "wikidoc"]),
    st.sampled_from(list(Style)),
    st.one_of(st.none(), st.integers(0, 14)),
)
def test_a_block_is_decided_as_its_rows_are(
    rows: list[tuple[str, str, bool]], source: str, style: Style, most: int | None
) -> None:
    candidates: list[Record | Reject] = []
    for number, (question, answer, refused) in enumerate(rows):
        try:
            f"{question}{answer}".encode()
        except UnicodeEncodeError:
            continue
        made = record(number, question, answer, source)
        candidates.append(Reject(f"f:{number}", Reason.DUPLICATE) if refused else made)
    where = [f"f:{index}" for index in range(len(candidates))]
    rules = Rules(
        source, OriginName.UPSTREAM, Options(style=style), frozenset({"https://example.org/1", "3"})
    )
    expected = decide(candidates[:most], where[:most], rules)
    records = [item for item in candidates if isinstance(item, Record)]
    places, before = [], 0
    for item in candidates:
        if isinstance(item, Reject):
            places.append(before)
        else:
            before += 1
    block = Block(
        to_arrow(
            records,
            [at for at, item in zip(where, candidates, strict=True) if isinstance(item, Record)],
        ),
        [item for item in candidates if isinstance(item, Reject)],
        places,
    )
    found = admit_block(block, rules, most)
    kept = [item for item in expected if isinstance(item, Record)]
    kept_at = [at for at, item in zip(where, expected, strict=False) if isinstance(item, Record)]
    assert found.rows.to_pylist() == to_arrow(kept, kept_at).to_pylist()
    assert found.rejects == [item for item in expected if isinstance(item, Reject)]
    assert found.candidates == len(candidates[:most])
    assert found.facts == Counter()
    assert found.identities == bytes.fromhex("".join(each.id for each in kept))
