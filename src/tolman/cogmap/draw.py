"""Maps as pictures: one self-contained SVG."""

from __future__ import annotations

import colorsys
import zlib
from xml.sax.saxutils import escape

from tolman.cogmap.map import CognitiveMap

MAX_DRAWN = 500
_LINE = 16.0  # height of a line of text, pixels
_MARGIN = 8.0


def draw_map(drawn: CognitiveMap, truth: CognitiveMap | None = None, size: int = 240) -> str:
    """An SVG of a map, beside the true one where given, with a legend (category, drawn / true counts).

    size: edge of one panel in pixels. Up is up (+y). A category has the same colour in every picture.
    Positions off the frame are drawn as hollow rings at its edge. Maps in metres share a frame around all
    their positions. No outside reference; every name is escaped. At most MAX_DRAWN positions per panel, and
    the picture says so. Raises ValueError for a size below 40 and for maps with different grids.
    """
    if size < 40:
        raise ValueError(f"size must be at least 40 pixels, got {size}")
    if truth is not None and truth.grid != drawn.grid:
        raise ValueError(f"maps side by side must share a grid, got {drawn.grid} and {truth.grid}")
    maps = [("drawn", drawn)] if truth is None else [("drawn", drawn), ("true", truth)]
    frame = _frame([each for _, each in maps])
    names = sorted({name for _, each in maps for name in each.positions})
    width = len(maps) * (size + _MARGIN) + _MARGIN
    height = _LINE + size + _MARGIN * 2 + _LINE * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" font-family="sans-serif" font-size="11">',
        "<title>cognitive map</title>",
    ]
    for k, (title, each) in enumerate(maps):
        left = _MARGIN + k * (size + _MARGIN)
        parts += _panel(title, each, frame, left, size, colours_alone=len(maps) == 1)
    for k, name in enumerate(names):
        parts += _legend(name, [each for _, each in maps], _LINE + size + _MARGIN + _LINE * (k + 0.5))
    return "\n".join([*parts, "</svg>"])


def colour(category: str) -> str:
    """The category's colour, `#rrggbb`, the same in every picture and process."""
    code = zlib.crc32(category.encode("utf-8", "replace"))
    rgb = colorsys.hls_to_rgb(code % 360 / 360, 0.3 + code // 360 % 3 * 0.12, 0.55 + code // 1080 % 3 * 0.15)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)


def _frame(maps: list[CognitiveMap]) -> tuple[float, float, float]:
    """Lower left corner and side of what a panel shows; cell k spans [k, k + 1]."""
    grid = maps[0].grid
    if grid is not None:
        return 0.0, 0.0, float(grid)
    points = [point for each in maps for group in each.positions.values() for point in group] or [(0.0, 0.0)]
    low_x, low_y = min(x for x, _ in points), min(y for _, y in points)
    side = max(max(x for x, _ in points) - low_x, max(y for _, y in points) - low_y, 1.0) * 1.1
    return low_x - 0.05 * side, low_y - 0.05 * side, side


def _panel(
    title: str,
    shown: CognitiveMap,
    frame: tuple[float, float, float],
    left: float,
    size: int,
    colours_alone: bool,
) -> list[str]:
    low_x, low_y, side = frame
    shift = 0.0 if shown.grid is None else 0.5
    parts = []
    if not colours_alone:
        parts.append(f'<text x="{left:g}" y="12" fill="#444">{title}</text>')
    parts.append(
        f'<rect x="{left:g}" y="{_LINE:g}" width="{size}" height="{size}" fill="#fff" stroke="#999"/>'
    )
    lines = 0 if shown.grid is None or shown.grid > 50 else shown.grid
    for k in range(1, lines):
        at = size * k / lines
        parts.append(
            f'<path d="M{left + at:.1f} {_LINE:g}v{size}M{left:g} {_LINE + at:.1f}h{size}" stroke="#eee"/>'
        )
    placed = [(name, point) for name in shown.categories for point in shown.positions[name]]
    for name, (x, y) in placed[:MAX_DRAWN]:
        across, up = _share(x, low_x - shift, side), _share(y, low_y - shift, side)
        inside = 0 <= across <= 1 and 0 <= up <= 1
        at_x = left + size * min(max(across, 0.0), 1.0)
        at_y = _LINE + size * (1 - min(max(up, 0.0), 1.0))
        note = "" if inside else " (off the map)"
        style = f'fill="{colour(name)}" fill-opacity="0.75"' if inside else 'fill="none"'
        parts.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{max(3.0, size / 40):.1f}" {style} '
            f'stroke="{colour(name)}"><title>{_text(name)}{note}</title></circle>'
        )
    if len(placed) > MAX_DRAWN:
        more = f"{len(placed) - MAX_DRAWN} more not drawn"
        parts.append(f'<text x="{left + 4:g}" y="{_LINE + size - 4:g}" fill="#b00">{more}</text>')
    return parts


def _share(value: float, low: float, side: float) -> float:
    """Where a coordinate lies in the frame, 0..1 inside; large values are cut so that any number fits."""
    return (min(max(value, -1e9), 1e9) - low) / side


def _legend(name: str, maps: list[CognitiveMap], y: float) -> list[str]:
    counts = " / ".join(str(len(each.positions.get(name, ()))) for each in maps)
    return [
        f'<circle cx="{_MARGIN + 5:g}" cy="{y:g}" r="5" fill="{colour(name)}"/>',
        f'<text x="{_MARGIN + 16:g}" y="{y + 4:g}" fill="#222">{_text(name)} {counts}</text>',
    ]


def _text(name: str) -> str:
    """A name fit for XML: markup escaped, characters that XML forbids replaced, at most 60 characters."""
    allowed = "".join(
        c if c.isprintable() and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "\ufffd"
        for c in name[:60]
    )
    return escape(allowed, {'"': "&quot;", "'": "&apos;"})
