"""The differences of docs/evidence.md as a picture: dots with 95 % intervals, one for each test set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from tolman.bench.seeds import Interval
from tolman.report.curves import nice_ticks

LEFT, WIDTH, RIGHT, TOP, ROW = 430, 380, 20, 36, 40
COLOURS = ("#1f6f8b", "#c8553d")  # told apart by the colour blind as well, and by their order in a row


class Line(NamedTuple):
    """A question, and the differences in percent points that answer it, one for each test set."""

    asks: str
    changes: Sequence[Interval | None]


def forest(lines: Sequence[Line], sets: Sequence[str]) -> str:
    """An SVG of two test sets at most; what was not measured has no mark, what has no interval no bar.

    Raises ValueError where nothing was measured.
    """
    shown = [change for line in lines for change in line.changes if change is not None]
    if not shown:
        raise ValueError("none of the differences was measured")
    ends = [end for change in shown for end in change[:3] if math.isfinite(end)]
    ticks = nice_ticks(min(0.0, *ends), max(0.0, *ends), most=7)
    low, high = ticks[0], ticks[-1]

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * WIDTH

    bottom = TOP + ROW * len(lines)
    parts = [f'<rect width="{LEFT + WIDTH + RIGHT}" height="{bottom + 44}" fill="#ffffff"/>']
    for tick in ticks:
        x, colour, said = across(tick), *(("#dddddd", f"{tick:+g}") if tick else ("#333333", "0"))
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{said}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">percent points</text>')
    for k, name in enumerate(sets):
        x = LEFT + 180 * k
        parts.append(f'<circle cx="{x}" cy="18" r="5" fill="{COLOURS[k]}"/>')
        parts.append(f'<text x="{x + 12}" y="22">{escape(name)}</text>')
    for row, line in enumerate(lines):
        middle = TOP + ROW * (row + 0.5)
        parts.append(f'<text x="{LEFT - 14}" y="{middle + 4}" text-anchor="end">{escape(line.asks)}</text>')
        for k, change in enumerate(line.changes):
            if change is not None:
                parts.append(_mark(change, across, middle + 12 * (k - (len(sets) - 1) / 2), COLOURS[k]))
    size = f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {bottom + 44}"'
    style = "<style>text{font:13px system-ui,sans-serif;fill:#222222}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{style}{"".join(parts)}</svg>\n'


def _mark(change: Interval, across: Callable[[float], float], y: float, colour: str) -> str:
    dot = f'<circle cx="{across(change.mean):.1f}" cy="{y:g}" r="5" fill="{colour}"/>'
    if math.isnan(change.low):
        return dot
    bar = f"M{across(change.low):.1f} {y:g}H{across(change.high):.1f}"
    return f'<path d="{bar}" stroke="{colour}" stroke-width="2.5"/>{dot}'
