"""Line charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tolman.report.html import Html, tag, text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 340, 150, 46, 10, 8, 20


def line_chart(steps: Sequence[float], values: Sequence[float], label: str) -> Html:
    """One curve: raw values thin, their running mean thick; gaps where a value is not finite.

    steps, values: as many of both; at least one finite value, else a ValueError.
    """
    points = [(x, y) for x, y in zip(steps, values, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if not points:
        raise ValueError(f"{label}: no finite value to draw")
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
    low_y, high_y = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - low_x) / (high_x - low_x) if high_x > low_x else 0.5
        up = (y - low_y) / (high_y - low_y)
        return (
            _LEFT + right * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = []
    for tick in ticks:
        _, y = place(low_x, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(tick)}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{number(low_x)}</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">step {number(high_x)}</text>'
    )
    smooth = running_mean([y for _, y in points], max(1, len(points) // 15))
    for kind, ys in (("raw", [y for _, y in points]), ("smooth", smooth)):
        path = " ".join(
            f"{x:.1f},{y:.1f}" for x, y in (place(x, y) for (x, _), y in zip(points, ys, strict=True))
        )
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
    if len(points) == 1:
        x, y = place(*points[0])
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    svg = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(label)}">'
    last = tag("span", number(points[-1][1]), class_="value")
    return tag("div", tag("h3", label, last), Html(svg + "".join(parts) + "</svg>"), class_="card")


def running_mean(values: Sequence[float], half: int) -> list[float]:
    """Mean over the window of up to `half` values on either side."""
    return [
        sum(values[max(0, k - half) : k + half + 1]) / len(values[max(0, k - half) : k + half + 1])
        for k in range(len(values))
    ]


def nice_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers that span [low, high]; two at least, about `most` at most."""
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, last + 1)]


def number(value: float) -> str:
    """A figure in at most four significant digits."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.2g}"
