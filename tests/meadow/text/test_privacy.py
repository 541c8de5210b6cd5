"""Personal data: found where it was labelled, nothing else touched, in linear time."""

import html
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.text.privacy import scrub, suspects
from meadow.text.privacy_rules import Kind

_LABEL = re.compile(r"\{\{(\w+):(.*?)\}\}")


def rows(root: Path, name: str) -> list[str]:
    text = (root / f"tests/fixtures/privacy/{name}.txt").read_text(encoding="utf-8")
    return [line.replace("\\n", "\n") for line in text.splitlines()]


def labelled(row: str) -> tuple[str, str, Counter[str]]:
    """A labelled row as its text, as it should look afterwards, and its counts per kind."""
    expected = _LABEL.sub(lambda match: Kind(match.group(1)).placeholder, row)
    return _LABEL.sub(r"\2", row), expected, Counter(kind for kind, _ in _LABEL.findall(row))


def test_recall_and_precision_on_the_labelled_rows(root: Path) -> None:
    found = [labelled(row) for row in rows(root, "found")]
    clean = rows(root, "clean")
    assert len(found) + len(clean) >= 300
    due = hits = extra = 0
    missed = []
    for text, expected, counts in found:
        result, seen = scrub(text)
        due += counts.total()
        right = counts.total() if result == expected else sum((counts & Counter(seen)).values())
        hits += right if result == expected else min(right, counts.total() - 1)
        extra += (Counter(seen) - counts).total()
        if result != expected:
            missed.append((expected, result))
    extra += sum(sum(scrub(text)[1].values()) for text in clean)
    recall, precision = hits / due, hits / (hits + extra)
    print(f"\n{due} labelled, recall {recall:.4f}, precision {precision:.4f}")
    assert recall >= 0.99, missed
    assert precision >= 0.98, [text for text in clean if scrub(text)[1]]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_covered(root: Path, kind: Kind) -> None:
    assert sum(labelled(row)[2][kind] for row in rows(root, "found")) >= 3
    assert kind.placeholder == f"[{kind.name}]"


def test_text_without_findings_is_the_same_object(root: Path) -> None:
    for text in rows(root, "clean"):
        result, counts = scrub(text)
        assert not counts, text
        assert result is text


def test_scrubbing_twice_changes_nothing(root: Path) -> None:
    for row in rows(root, "found"):
        once = scrub(labelled(row)[0])[0]
        assert scrub(once) == (once, {})


pieces = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["@", "a@b.example", "Dear Dr. Miller,", "\nThanks,\nAnna", "[EMAIL]", "123-45-6789", "://"]
    ),
    st.sampled_from(
        ["+1 212 555 0187", "MRN 12345", "IP 1.2.3.4", "`@x`", "my name is Ann", "x:y"]
    ),
    st.sampled_from(["https://x.com/ann", " ", "\n", "Regards, ", "phone ", "1", "."]),
)


def test_the_screen_lets_no_finding_pass(root: Path) -> None:
    texts = [labelled(row)[0] for row in rows(root, "found")] + rows(root, "clean")
    marks = suspects(texts)
    assert [text for text, mark in zip(texts, marks, strict=True) if not mark]
    for text, mark in zip(texts, marks, strict=True):
        assert mark or scrub(text)[0] is text


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(pieces, max_size=12).map("".join), min_size=32, max_size=32))
def test_the_screen_lets_no_finding_pass_in_any_mixture(texts: list[str]) -> None:
    writable = [text.encode("utf-8", "ignore").decode() for text in texts]
    for text, mark in zip(writable, suspects(writable), strict=True):
        assert mark or scrub(text)[0] is text


@pytest.mark.realdata
def test_the_screen_lets_no_finding_of_the_real_forums_pass(upstream: Path) -> None:
    texts = []
    for path in sorted(upstream.glob("stack_exchange/*_Posts.xml")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        texts += [html.unescape(html.unescape(line)) for line in lines[:400]]
    found = 0
    for text, mark in zip(texts, suspects(texts), strict=True):
        changed = scrub(text)[0] is not text
        found += changed
        assert mark or not changed
    assert found > 20


def test_no_text_of_the_real_files_is_touched_by_mistake(upstream: Path) -> None:
    """GenMedGPT-5k was generated: it holds numbers and drugs, and no personal data at all."""
    import json

    for row in json.loads((upstream / "chatdoctor/chatdoctor5k.json").read_text()):
        for text in (row["input"], row["output"]):
            assert scrub(text)[0] is text


# a night attacks every pattern of the package (tests/fuzz/test_linear.py)
WORST = [
    "@",
    "a@",
    "a.",
    "@a.",
    "a@b.",
    "://a:",
    "://a:b@",
    "1",
    "1-",
    "1 ",
    "+1",
    "(1)",
    "(",
    "phone ",
    "phone 1",
    "tel.",
    "MRN ",
    "MRN 1",
    "patient id ",
    "IP 1.",
    "1.1.",
    "Dear ",
    "\nDear A",
    "Hi Anna ",
    "Regards, ",
    "Regards, A",
    "Thanks, Ab ",
    "my name is ",
    "`",
    "`@a",
    "[at] ",
    "a [at] ",
    "x.com/",
    "www.facebook.com/a",
    "a-a.",
    "user/1/",
    "Aa-Ba ",
    "SSN 1",
    "\n",
    " ",
    "contact me at ",
]


@pytest.mark.parametrize("unit", WORST)
@pytest.mark.timeout(20)
def test_a_hundred_kilobytes_of_the_worst_take_a_tenth_of_a_second(unit: str) -> None:
    text = "@ phone mrn dear ://" + (unit * (100_000 // len(unit) + 1))[:100_000]
    watch = Stopwatch()
    scrub(text)
    assert watch.within(0.5)  # 0.1 s on an idle machine; quadratic cost would be minutes


def test_a_paper_below_a_profile_is_a_citation() -> None:
    paper = "https://www.researchgate.net/profile/Ann_Bee/publication/12345_Hives/links/1.pdf"
    assert scrub(f"[hives]({paper})") == (f"[hives]({paper})", {})
    assert scrub("https://www.researchgate.net/profile/Ann_Bee")[1] == {"profile_link": 1}


@settings(deadline=None, max_examples=300)
@given(st.lists(pieces, max_size=12))
def test_idempotent_on_any_mixture(parts: list[str]) -> None:
    once, _ = scrub("".join(parts))
    assert scrub(once)[0] == once
