"""Charts as inline SVG, for pages that load nothing.

Colours and fonts come from the page's style sheet through classes, so a chart carries no style of
its own (the page's content security policy allows none) and follows light and dark. Every text is
escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from markupsafe import Markup, escape

WIDTH = 960


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _svg(height: float, label: str, body: Sequence[str], width: float = WIDTH) -> Markup:
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    # The parts are made here, their texts escaped one by one.
    inside = Markup("".join(body))  # noqa: S704
    return frame.format(_number(width), _number(height), label, inside)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" class="{kind}">'
        f"{escape(text)}</text>"
    )


def _rectangle(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(max(0, width))}" '
        f'height="{_number(max(0, height))}" class="{kind}">{tip}</rect>'
    )


def bars(items: Sequence[tuple[str, int]], label: str) -> Markup:
    """Horizontal bars with their names and counts.

    Args:
        items: Name and count, in order.
        label: What the chart shows, for people who do not see it.
    """
    largest = max((value for _, value in items), default=0) or 1
    left, right, step = 240, 120, 30
    body = []
    for index, (name, value) in enumerate(items):
        top = index * step
        width = (WIDTH - left - right) * value / largest
        body.append(_text(left - 14, top + 19, _short(name, 32), "name", "end"))
        body.append(_rectangle(left, top + 6, WIDTH - left - right, 18, "track"))
        body.append(_rectangle(left, top + 6, max(width, 1 if value else 0), 18, "bar"))
        body.append(_text(WIDTH, top + 19, f"{value:,}", "figure", "end"))
    return _svg(max(1, len(items)) * step, label, body)


def histogram(edges: Sequence[int], counts: Sequence[int], label: str) -> Markup:
    """Bars over bins; `edges` has one entry more than `counts`, and the last bin is open."""
    width, height = 300.0, 110.0
    largest = max(counts, default=0) or 1
    step = width / max(1, len(counts))
    body = []
    for index, value in enumerate(counts):
        tall = height * value / largest
        last = index == len(counts) - 1
        bounds = f"from {edges[index]:,}" if last else f"{edges[index]:,} to {edges[index + 1]:,}"
        title = f"{bounds}: {value:,} rows"
        x = index * step
        body.append(_rectangle(x + 0.75, height - tall, step - 1.5, tall, "bar", title))
    body.append(f'<line x1="0" x2="{_number(width)}" y1="110" y2="110" class="axis"/>')
    for index in range(0, len(counts), 3):
        anchor = "middle" if index else "start"
        body.append(_text(index * step, height + 13, _compact(edges[index]), "tick", anchor))
    return _svg(height + 18, label, body, width)


def flow(stages: Sequence[tuple[str, int, Sequence[tuple[str, int]]]], label: str) -> Markup:
    """A band that narrows stage by stage, with what is lost peeling off and named.

    Args:
        stages: Name, rows that came through, and the losses on the way there by reason.
        label: What the chart shows, for people who do not see it.
    """
    if not stages:
        return _svg(1, label, [])
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
        body.append(_rectangle(x, top, node, height, "node", f"{name}: {rows:,} rows"))
        edge = "start" if index == 0 else "end" if index == len(stages) - 1 else "middle"
        at = x if index == 0 else x + node if index == len(stages) - 1 else x + node / 2
        level = 0.0 if not wide or index % 2 == 0 else -2.0
        body.append(_text(at, 14 + level, _short(name, 20), "name", edge))
        body.append(_text(at, 34 + level, f"{rows:,}", "figure", edge))
        shown = [*losses[:most]]
        if len(losses) > most:
            shown.append(("other reasons", sum(count for _, count in losses[most:])))
        at = x - gap * 0.45
        for line, (reason, count) in enumerate(shown):
            text = f"{_short(reason, 24)} {count:,}"
            body.append(_text(at, foot + 8 + line * 18, text, "loss-name", "middle"))
    return _svg(foot + 8 + deepest * 18, label, body)


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


def _short(text: str, length: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _compact(value: int) -> str:
    return f"{value // 1024}k" if value >= 1024 else str(value)


# The interval of a proportion, in one place for audits, reviews and exam scores.


CONFIDENCE = 0.95


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
