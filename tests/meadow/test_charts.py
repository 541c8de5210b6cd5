"""Charts: well-formed whatever they show, every number where a reader finds it."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meadow import charts

NAMES = st.text(max_size=30).map(lambda name: "".join(c for c in name if c.isprintable()))
COUNTS = st.integers(0, 10**9)
MARKS = {"svg", "rect", "text", "line", "path", "title", "circle", "polyline", "style"}


def document(chart: str) -> ElementTree.Element:
    """The parsed picture, names without their namespace."""
    assert "NaN" not in chart
    root = ElementTree.fromstring(chart.replace(' xmlns="http://www.w3.org/2000/svg"', ""))
    assert {element.tag for element in root.iter()} <= MARKS
    return root


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


@settings(max_examples=60, deadline=None)
@given(a=NAMES, b=NAMES, first=COUNTS, second=COUNTS)
def test_charts_are_well_formed_whatever_they_show(a: str, b: str, first: int, second: int) -> None:
    for chart in (
        charts.bars([(a, first), (b, second)], a),
        charts.stacked_bars([(a, {b: first, "other": second})], [b, "other"], a),
        charts.columns([a, b], {"predicted": {a: first}, "gold": {b: second}}, b),
        charts.histogram([0, 8, 16], [first, second], a),
        charts.flow([(a, first + second, []), (b, first, [(b, second)] * 7)], a),
        charts.intervals([(a, 0.5, 0.0, 1.0)], 0.2, b),
        charts.reliability([{"confidence": 0.3, "accuracy": 1.0, "n": first}], a),
        charts.curves({a: [(1.0, float(first))], b: []}, a, across=b, sparse={a}),
    ):
        document(chart)


def test_a_bar_is_as_long_as_its_count_and_says_it() -> None:
    root = document(charts.bars([("many", 2000), ("half", 1000), ("none", 0)], "rows"))
    widths = [float(bar.attrib["width"]) for bar in root.findall("rect[@class='bar']")]
    assert widths == [600.0, 300.0, 0.0]
    assert {"2,000", "1,000", "0"} <= set(words(root))


def test_a_stacked_bar_is_shared_out_whole() -> None:
    root = document(charts.stacked_bars([("mode", {"a": 3, "b": 1})], ["a", "none", "b"], "x"))
    parts = {p.attrib["class"]: float(p.attrib["width"]) for p in root.findall("rect")}
    assert parts == {"kind0": 315.0, "kind2": 105.0}
    assert [title.text for title in root.iter("title")] == ["a: 3", "b: 1"]


def test_an_interval_stands_where_its_numbers_do() -> None:
    root = document(charts.intervals([("letter", 0.5, 0.25, 1.0)], 0.2, "x"))
    (bar,) = root.findall("line[@class='interval']")
    ticks = {t.text: float(t.attrib["x"]) for t in root.findall("text[@class='tick']")}
    assert float(bar.attrib["x1"]) == ticks["25%"]
    assert float(bar.attrib["x2"]) == ticks["100%"]
    (point,) = root.findall("circle")
    assert float(point.attrib["cx"]) == ticks["50%"]


def test_curves_leave_out_what_is_no_number() -> None:
    series = {"all": [(1.0, 2.0), (2.0, math.nan), (3.0, 1.0)], "held out": [(2.0, 2.5)]}
    root = document(charts.curves(series, "a & b", across="step", sparse={"held out"}))
    first, second = root.findall("polyline")
    assert len(first.attrib["points"].split()) == 2
    assert "sparse" in second.attrib["class"]
    assert {"a & b", "step", "all", "held out"} <= set(words(root))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within(low: float, span: float) -> None:
    found = charts.ticks(low, low + span)
    assert 1 <= len(found) <= 8
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in found)


def test_published_intervals() -> None:
    assert [round(v, 3) for v in charts.wilson(27, 91)] == [0.213, 0.397]
    assert [round(v, 3) for v in charts.wilson(162, 324)] == [0.446, 0.554]
    # statsmodels 0.15, proportion_confint(method="wilson")
    assert charts.wilson(3, 10, 0.9) == pytest.approx((0.12687658, 0.55830020), abs=1e-8)
    assert charts.wilson(0, 7) == pytest.approx((0.0, 0.35433044), abs=1e-8)
    assert charts.wilson(7, 7) == pytest.approx((0.64566956, 1.0), abs=1e-8)
    assert charts.wilson(0, 0) == (0.0, 1.0)
