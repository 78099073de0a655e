"""Overlap of time spans and of image boxes."""

from __future__ import annotations

Span = tuple[float, float]
Box = tuple[float, float, float, float]


def span_iou(a: Span, b: Span) -> float:
    """Length of the intersection over length of the union of two spans (start, end) in seconds, in [0, 1].

    0 for spans that do not meet, for one that ends before it starts and for two points.
    """
    shared = min(a[1], b[1]) - max(a[0], b[0])
    if not shared > 0:
        return 0.0
    return shared / (max(a[1], b[1]) - min(a[0], b[0]))


def box_iou(a: Box, b: Box) -> float:
    """Area of the intersection over area of the union of two boxes (x1, y1, x2, y2), in [0, 1].

    0 for boxes that do not meet and for one without area.
    """
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if not (width > 0 and height > 0):
        return 0.0
    shared = width * height
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
