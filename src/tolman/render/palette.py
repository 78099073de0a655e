"""Colours: typical ones per category, and steady ones for categories we have no idea of."""

from __future__ import annotations

import colorsys
import zlib

import numpy as np

from tolman.render.parts import Colour


def rgb(code: int) -> Colour:
    """0xRRGGBB as three numbers in [0, 1]."""
    return (code >> 16 & 255) / 255, (code >> 8 & 255) / 255, (code & 255) / 255


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b` in it."""
    return tuple(p + (q - p) * share for p, q in zip(a, b, strict=True))  # type: ignore[return-value]


def scaled(colour: Colour, factor: float) -> Colour:
    """Lighter (factor > 1) or darker, kept within [0, 1]."""
    return tuple(min(1.0, max(0.0, channel * factor)) for channel in colour)  # type: ignore[return-value]


WHITE, CREAM, BLACK = rgb(0xF2F2EE), rgb(0xEDE3CC), rgb(0x17181B)
DARK, STEEL, GREY = rgb(0x2E3238), rgb(0xB9C0C6), rgb(0x8A9097)
OAK, WALNUT, PINE = rgb(0xB9854E), rgb(0x6B4328), rgb(0xD9B27C)
BRASS, LEAF, EARTH = rgb(0xC9A24A), rgb(0x3F8B3A), rgb(0x5A3E2B)

COLOURS: dict[str, tuple[int, int]] = {
    # category: main colour, accent
    "chair": (0xD9632B, 0x7A4A28),
    "armchair": (0xC94F3D, 0x5C3A24),
    "stool": (0xE3B62F, 0x8A6236),
    "bench": (0xB98A3C, 0x6B4A2A),
    "sofa": (0x1F8A84, 0x2FA79F),
    "bed": (0x3F63C4, 0x8C5A33),
    "mattress": (0xE4E6F2, 0x8FA3D9),
    "table": (0xA9713C, 0x8A5A2E),
    "desk": (0xCFA468, 0x4A4E55),
    "nightstand": (0x6E3B22, 0xC9A24A),
    "bookshelf": (0xE0BF8C, 0xB08B5E),
    "shoe rack": (0xB08B5E, 0x6B5A45),
    "closet": (0xE9DFC8, 0x9C8A66),
    "cabinet": (0xC9B79A, 0x7E6B4B),
    "dresser": (0x8A4F35, 0xC9A24A),
    "tv stand": (0x4B3A33, 0x9A8A7A),
    "counter": (0xE6E2DA, 0x4E5B57),
    "refrigerator": (0xC3CCD2, 0x7F888F),
    "stove": (0x24262A, 0xD6401F),
    "oven": (0x5A5F66, 0x17181B),
    "microwave": (0x3B3E44, 0x9FD0A8),
    "dishwasher": (0xD8DCDC, 0x3E6F9E),
    "washer": (0xF3F5F7, 0x3F78C2),
    "sink": (0xE8EEF0, 0x9FB3BC),
    "toilet": (0xFBFBF8, 0xE2E5E6),
    "bathtub": (0xF6FAFB, 0x5CC3D6),
    "tv": (0x121316, 0x27407A),
    "monitor": (0x202328, 0x4FA8E8),
    "laptop": (0xA9B0B8, 0x49D0D8),
    "keyboard": (0x33363C, 0xC9CDD2),
    "computer mouse": (0x24272C, 0x55E07A),
    "computer tower": (0x1C1F26, 0x38D66B),
    "printer": (0xDDDAD2, 0x4B4F56),
    "telephone": (0x2A2D33, 0xC0392B),
    "headphones": (0x202226, 0x8E44AD),
    "power strip": (0xF4F2E8, 0xD64A3A),
    "lamp": (0xF7D774, 0x8C6B2F),
    "table lamp": (0xFBE7B2, 0x7B4FA3),
    "ceiling light": (0xFFF6DC, 0xD8D8D8),
    "fan": (0x6FB7D9, 0xE8EEF2),
    "exhaust fan": (0xB6BDC4, 0x5E666E),
    "radiator": (0xF4EFE0, 0xC9C2AE),
    "fireplace": (0xA5472F, 0xFF8A1F),
    "door": (0x8E4A2A, 0xF0EADC),
    "window": (0x8FC7F0, 0xF4F4F0),
    "mirror": (0xC4DDE3, 0xC9A24A),
    "whiteboard": (0xFCFDFE, 0xA8AEB4),
    "clock": (0xFFFDF5, 0xC0392B),
    "picture": (0x4F86B8, 0x6B4A2A),
    "curtain": (0xB06A86, 0x8F5069),
    "plant": (0x3F9B3A, 0xC96B3C),
    "trash bin": (0x4C5A63, 0x2B343A),
    "bucket": (0x2F6FD0, 0xD8DCE0),
    "basket": (0xCDA05F, 0x9C7338),
    "crate": (0x3AA06B, 0x2A7A50),
    "box": (0xC69A66, 0xA67C4B),
    "paper bag": (0xC79A66, 0xE9D8B8),
    "backpack": (0x7A2FB0, 0xE0A02F),
    "suitcase": (0xB3123A, 0x2B2D31),
    "shoes": (0x2B2F6B, 0xF4F4F0),
    "towel": (0xF08CB4, 0xFFFFFF),
    "blanket": (0xA98BD6, 0xE8DDF7),
    "pillow": (0xD94FA0, 0xF7D5E8),
    "cushion": (0xE86A4A, 0xFFD9A0),
    "cup": (0xE23B3B, 0xFFFFFF),
    "bowl": (0x58B0C9, 0xFFFFFF),
    "pan": (0x26282B, 0x6E4A30),
    "kettle": (0xC9CDD2, 0x1E5FA8),
    "cutting board": (0xDDB27A, 0x9C6B3A),
    "bottle": (0x2E9E6B, 0xFFFFFF),
    "piano": (0x14100F, 0xFAFAF5),
    "guitar": (0xC8741E, 0x5A2E12),
    "coat hanger": (0x5A4632, 0x3A7D8C),
    "rug": (0xA33B3B, 0xE6D2A8),
}
"""Typical main and accent colours (sRGB), spread over hues so that categories stay apart in tiny frames."""


def guessed(category: str) -> tuple[Colour, Colour]:
    """Main and accent colour of a category not in the table: the same in every process (crc32 of its
    name)."""
    code = zlib.crc32(category.encode())
    hue = (code & 0xFFFF) / 0x10000
    value = 0.5 + 0.35 * (code >> 16 & 0xFF) / 255
    main = colorsys.hsv_to_rgb(hue, 0.65, value)
    accent = colorsys.hsv_to_rgb((hue + 0.3 + 0.4 * (code >> 24) / 255) % 1, 0.5, 1.1 - value * 0.7)
    return main, accent


def colours(category: str, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Main and accent colour for one item: the category's own, slightly turned in hue and value."""
    known = COLOURS.get(category)
    main, accent = (rgb(known[0]), rgb(known[1])) if known else guessed(category)
    turn, saturation, value = rng.normal(0, 0.012), rng.uniform(0.88, 1.1), rng.uniform(0.88, 1.1)
    h, s, v = colorsys.rgb_to_hsv(*main)
    return colorsys.hsv_to_rgb((h + turn) % 1, min(1, s * saturation), min(1, v * value)), accent
