"""The one chart kit: a few marks, a scale and ticks, and the charts that are made of them.

Charts are inline SVG for pages that load nothing. Colours and fonts come from the page's style
sheet through classes, so a chart carries no style of its own (a page's content security policy
allows none) and follows light and dark; only `curves`, a file by itself, brings its own. Every text
is escaped here, and every mark whose number is not beside it has it as a title.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from markupsafe import Markup, escape

WIDTH = 960
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to places: `low` stands at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, in pixels."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two values, about `count` of them."""
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span / count))
    size *= next(k for k in (1, 2, 5, 10) if span / (size * k) <= count)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [place * size for place in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _mark(tag: str, kind: str, title: str = "", **places: float) -> str:
    inside = "".join(f' {name}="{_number(value)}"' for name, value in places.items())
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<{tag}{inside} class="{kind}">{tip}</{tag}>'


def svg(width: float, height: float, label: str, body: Sequence[str], *, style: str = "") -> Markup:
    """The picture around its marks.

    Args:
        width: In pixels, like the height.
        height: A page may scale both.
        label: What the chart shows, for people who do not see it.
        body: Marks, made here: their texts are escaped.
        style: A style sheet of its own, for a picture that is a file by itself.
    """
    frame = Markup('<svg{} viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">')
    space = Markup(' xmlns="http://www.w3.org/2000/svg"') if style else ""
    size = (_number(width), _number(height))
    sheet = f"<style>{style}</style>" if style else ""
    inside = Markup(sheet + "".join(body))  # noqa: S704 - escaped one by one above
    return frame.format(space, *size, *size, label) + inside + Markup("</svg>")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words; `anchor` says which part of them stands at x."""
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" class="{kind}">'
        f"{escape(words)}</text>"
    )


def rectangle(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """A filled area, of no negative size."""
    return _mark("rect", kind, title, x=x, y=y, width=max(0, width), height=max(0, height))


def line(x1: float, y1: float, x2: float, y2: float, kind: str, title: str = "") -> str:
    """A straight line."""
    return _mark("line", kind, title, x1=x1, y1=y1, x2=x2, y2=y2)


def circle(x: float, y: float, radius: float, kind: str, title: str = "") -> str:
    """A point."""
    return _mark("circle", kind, title, cx=x, cy=y, r=radius)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> str:
    """A line through points."""
    path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return f'<polyline points="{path}" class="{kind}"/>'


def bars(items: Sequence[tuple[str, int]], label: str) -> Markup:
    """Horizontal bars with their names and counts.

    Args:
        items: Name and count, in order.
        label: What the chart shows, for people who do not see it.
    """
    x = Scale(0, max((value for _, value in items), default=0) or 1, 240, WIDTH - 120)
    step = 30
    body = []
    for index, (name, value) in enumerate(items):
        top = index * step
        body.append(text(x.start - 14, top + 19, _short(name, 32), "name", "end"))
        body.append(rectangle(x.start, top + 6, x.end - x.start, 18, "track"))
        wide = max(x(value) - x.start, 1 if value else 0)  # nothing that is there is invisible
        body.append(rectangle(x.start, top + 6, wide, 18, "bar"))
        body.append(text(WIDTH, top + 19, f"{value:,}", "figure", "end"))
    return svg(WIDTH, max(1, len(items)) * step, label, body)


def stacked_bars(
    rows: Sequence[tuple[str, Mapping[str, int]]], kinds: Sequence[str], label: str
) -> Markup:
    """A bar per row, shared out among kinds; classes kind0, kind1, ... in the order of `kinds`."""
    step, width = 30, 640.0
    body = []
    for index, (name, counts) in enumerate(rows):
        top = index * step + 6
        x = Scale(0, sum(counts.values()) or 1, 210, width - 10)
        body.append(text(x.start - 10, top + 14, _short(name, 30), "name", "end"))
        done = 0
        for place, kind in enumerate(kinds):
            count = counts.get(kind, 0)
            if not count:
                continue
            left, wide = x(done), x(count) - x.start
            body.append(rectangle(left, top, wide, 20, f"kind{place}", f"{kind}: {count}"))
            if wide > 26:  # where the number has room
                body.append(text(left + wide / 2, top + 14, str(count), "inside", "middle"))
            done += count
    return svg(width, step * len(rows) + 8, label, body)


def columns(groups: Sequence[str], series: Mapping[str, Mapping[str, int]], label: str) -> Markup:
    """Columns side by side in each group, one per series; their classes are the series' names."""
    most = max([count for counts in series.values() for count in counts.values()], default=0)
    y = Scale(0, most or 1, 120, 20)
    step = 16 + 20 * len(series)
    body = []
    for index, group in enumerate(groups):
        left = 10 + index * step
        for place, (kind, counts) in enumerate(series.items()):
            count, x = counts.get(group, 0), left + 20 * place
            top = y(count)
            body.append(rectangle(x, top, 18, y.start - top, kind, f"{kind} {count}"))
            body.append(text(x + 9, top - 6, str(count), "tick", "middle"))
        middle = left + 10 * len(series) - 1
        body.append(text(middle, 138, group, "name", "middle"))
    return svg(max(120, 20 + step * len(groups)), 150, label, body)


def histogram(edges: Sequence[int], counts: Sequence[int], label: str) -> Markup:
    """Columns over bins; `edges` has one entry more than `counts`, and the last bin is open."""
    width, height = 300.0, 110.0
    y = Scale(0, max(counts, default=0) or 1, height, 0)
    step = width / max(1, len(counts))
    body = []
    for index, value in enumerate(counts):
        last = index == len(counts) - 1
        bounds = f"from {edges[index]:,}" if last else f"{edges[index]:,} to {edges[index + 1]:,}"
        title = f"{bounds}: {value:,} rows"
        top = y(value)
        body.append(rectangle(index * step + 0.75, top, step - 1.5, height - top, "bar", title))
    body.append(line(0, height, width, height, "axis"))
    for index in range(0, len(counts), 3):
        anchor = "middle" if index else "start"
        body.append(text(index * step, height + 13, _compact(edges[index]), "tick", anchor))
    return svg(width, height + 18, label, body)


def intervals(
    rows: Sequence[tuple[str, float, float, float]], chance: float | None, label: str
) -> Markup:
    """Shares with their intervals on an axis from 0 to 1, and a line at chance level.

    Args:
        rows: (name, share, low, high).
        chance: Where guessing stands; None where nobody can guess.
        label: What the chart shows.
    """
    width, step = 640.0, 26
    foot = step * len(rows) + 8
    x = Scale(0, 1, 210, width - 70)
    body = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        body.append(line(x(value), 4, x(value), foot, "axis"))
        body.append(text(x(value), foot + 16, f"{value:.0%}", "tick", "middle"))
    if chance is not None:
        body.append(line(x(chance), 4, x(chance), foot, "chance", f"chance {chance:.1%}"))
    for index, (name, value, low, high) in enumerate(rows):
        y = step * index + 18
        body.append(text(x.start - 10, y + 4, _short(name, 30), "name", "end"))
        body.append(line(x(low), y, x(high), y, "interval"))
        body.append(circle(x(value), y, 4.5, "point"))
        body.append(text(x.end + 8, y + 4, f"{value:.1%}", "figure"))
    return svg(width, foot + 22, label, body)


def reliability(bins: Sequence[Mapping[str, Any]], label: str) -> Markup:
    """Accuracy against confidence, with the diagonal; the area of a point is its share.

    Args:
        bins: Each with confidence, accuracy and n.
        label: What the chart shows.
    """
    size, edge = 260.0, 34.0
    x, y = Scale(0, 1, edge, size - 10), Scale(0, 1, size - edge, 10)
    total = sum(point["n"] for point in bins) or 1
    body = [
        rectangle(x.start, y.end, x.end - x.start, y.start - y.end, "frame"),
        line(x(0), y(0), x(1), y(1), "chance"),
    ]
    for value in (0, 0.5, 1):
        body.append(text(x(value), size - 8, f"{value:g}", "tick", "middle"))
        body.append(text(edge - 6, y(value) + 4, f"{value:g}", "tick", "end"))
    places = [(x(point["confidence"]), y(point["accuracy"])) for point in bins]
    body.append(polyline(places, "curve"))
    for (across, up), point in zip(places, bins, strict=True):
        title = "confidence {confidence:.2f}, accuracy {accuracy:.2f}, n {n}".format(**point)
        radius = 2.5 + 5 * math.sqrt(point["n"] / total)
        body.append(circle(across, up, radius, "point", title))
    return svg(size, size, label, body)


COLOURS = (
    "#222222", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b",
    "#e377c2", "#7f7f7f", "#bcbd22",
)  # fmt: skip
CURVE_STYLE = (
    "text{font:12px sans-serif}.title{font-size:15px}.paper{fill:#fff}.axis{stroke:#ddd}"
    + "".join(f".c{i}{{stroke:{c};fill:{c}}}" for i, c in enumerate(COLOURS))
    + ".curve{fill:none;stroke-width:1}.strong{stroke-width:2}.sparse{stroke-dasharray:6 4}"
)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    *,
    across: str,
    strong: Collection[str] = (),
    sparse: Collection[str] = (),
) -> Markup:
    """Curves with a legend, as an SVG file by itself.

    Args:
        series: (x, y) by name; a y that is no number is left out.
        title: Stands above.
        across: What x is.
        strong: Names that are drawn thick.
        sparse: Names with few values: dashed, with a point at each.
    """
    shown = {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
    points = [point for curve in shown.values() for point in curve] or [(0.0, 0.0), (1.0, 1.0)]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    margin = (high - low or 1.0) * 0.05
    x = Scale(left, max(right, left + 1), 60, 640)
    y = Scale(low - margin, high + margin, 414, 40)
    body = [rectangle(0, 0, 860, 460, "paper"), text(x.start, 24, title, "title")]
    for value in ticks(y.low, y.high):
        body.append(line(x.start, y(value), x.end, y(value), "axis"))
        body.append(text(x.start - 8, y(value) + 4, f"{value:g}", "tick", "end"))
    for value in ticks(x.low, x.high):
        body.append(text(x(value), y.start + 18, f"{value:g}", "tick", "middle"))
    body.append(text((x.start + x.end) / 2, 452, across, "name", "middle"))
    for number, (name, curve) in enumerate(shown.items()):
        colour = f"c{number % len(COLOURS)}"
        kind = f"{colour} curve{' strong' * (name in strong)}{' sparse' * (name in sparse)}"
        places = [(x(a), y(b)) for a, b in curve]
        body.append(polyline(places, kind))
        if name in sparse:
            body += [circle(a, b, 3, colour) for a, b in places]
        beside = 48 + 20 * number
        body.append(line(x.end + 14, beside, x.end + 32, beside, kind))
        body.append(text(x.end + 38, beside + 4, name, "name"))
    return svg(860, 460, title, body, style=CURVE_STYLE)


def flow(stages: Sequence[tuple[str, int, Sequence[tuple[str, int]]]], label: str) -> Markup:
    """A band that narrows stage by stage, with what is lost peeling off and named.

    Args:
        stages: Name, rows that came through, and the losses on the way there by reason.
        label: What the chart shows, for people who do not see it.
    """
    if not stages:
        return svg(WIDTH, 1, label, [])
    first = max(1, *(rows for _, rows, _ in stages))
    top, tall, node, most = 46.0, 130.0, 14.0, 5
    gap = (WIDTH - node * len(stages)) / max(1, len(stages) - 1) if len(stages) > 1 else 0.0
    wide = len(stages) > 5
    deepest = max(len(losses[:most]) + (len(losses) > most) for _, _, losses in stages)
    foot = top + tall + 34
    body: list[str] = []
    for index, (name, rows, losses) in enumerate(stages):
        x = index * (gap + node)
        height = max(1.0 if rows else 0.0, tall * rows / first)
        if index:
            start, before = x - gap, max(1.0, tall * stages[index - 1][1] / first)
            kept = min(height, before)
            body.append(_band(start, top, top + kept, x, top, top + height, "band"))
            lost = sum(count for _, count in losses)
            if lost:
                thick = max(1.5, before - kept)
                body.append(_peel(start, top + kept, thick, start + gap * 0.55, foot - 16))
        body.append(rectangle(x, top, node, height, "node", f"{name}: {rows:,} rows"))
        edge = "start" if index == 0 else "end" if index == len(stages) - 1 else "middle"
        at = x if index == 0 else x + node if index == len(stages) - 1 else x + node / 2
        level = 0.0 if not wide or index % 2 == 0 else -2.0
        body.append(text(at, 14 + level, _short(name, 20), "name", edge))
        body.append(text(at, 34 + level, f"{rows:,}", "figure", edge))
        shown = [*losses[:most]]
        if len(losses) > most:
            shown.append(("other reasons", sum(count for _, count in losses[most:])))
        at = x - gap * 0.45
        for row, (reason, count) in enumerate(shown):
            lost_text = f"{_short(reason, 24)} {count:,}"
            body.append(text(at, foot + 8 + row * 18, lost_text, "loss-name", "middle"))
    return svg(WIDTH, foot + 8 + deepest * 18, label, body)


def _band(
    x1: float, top1: float, low1: float, x2: float, top2: float, low2: float, kind: str
) -> str:
    middle = _number((x1 + x2) / 2)
    a, b, c, d, e, f = (_number(value) for value in (x1, top1, low1, x2, top2, low2))
    return (
        f'<path class="{kind}" d="M{a} {b}C{middle} {b} {middle} {e} {d} {e}V{f}'
        f'C{middle} {f} {middle} {c} {a} {c}Z"/>'
    )


def _peel(x: float, y: float, thick: float, end: float, low: float) -> str:
    """A band that leaves to the right and ends downwards, `thick` all along."""
    a, b, c = _number(x), _number(y), _number(y + thick)
    near, far = _number(end - thick / 2), _number(end + thick / 2)
    bottom = _number(max(low, y + thick + 8))
    return (
        f'<path class="loss" d="M{a} {b}C{far} {b} {far} {b} {far} {bottom}H{near}'
        f'C{near} {c} {near} {c} {a} {c}Z"/>'
    )


def matrix_shade(value: int, largest: int) -> int:
    """The shade of a matrix cell: 0 for none, 1 to 5 by size."""
    if value <= 0:
        return 0
    return min(5, -(-5 * value // max(1, largest)))


def _short(words: str, length: int) -> str:
    flat = " ".join(words.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _compact(value: int) -> str:
    return f"{value // 1024}k" if value >= 1024 else str(value)


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22, 1927); (0, 1) where there is nothing.

    Args:
        hits: How many of `n`.
        n: How many in all.
        confidence: The interval's, between 0 and 1.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = hits / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if hits == 0 else (centre - spread) / scale
    high = 1.0 if hits == n else (centre + spread) / scale
    return low, high
