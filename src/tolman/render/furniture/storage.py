"""Tables, shelves and closed storage."""

from __future__ import annotations

from tolman.render.furniture.seats import legs
from tolman.render.palette import BRASS, DARK, GREY, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import GLOSSY, MATTE, STONE, WOOD, Colour, Kit

BOOKS = tuple(
    rgb(code) for code in (0xB8322C, 0x2C5AA0, 0x2F8F5B, 0xE0A52E, 0x6B3FA0, 0xE8E2D0, 0x1F2A44, 0xD9762B)
)


def table(kit: Kit) -> None:
    """A top on four legs; low and nearly round ones stand on a column."""
    w, d, h = kit.w, kit.d, kit.h
    thick = min(0.045, 0.4 * h)
    if abs(w - d) < 0.08 * max(w, d) and kit.rng.random() < 0.5:
        kit.tube((w / 2, d / 2, h - thick), (w / 2, d / 2, h), (w / 2, d / 2), kit.colour, WOOD)
        kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, h - thick), 0.06 * min(w, d), kit.accent, WOOD)
        kit.tube(
            (w / 2, d / 2, 0),
            (w / 2, d / 2, min(0.04, h / 3)),
            (0.3 * w, 0.3 * d),
            kit.accent,
            WOOD,
            (0.2 * w, 0.2 * d),
        )
        return
    kit.box((0, w), (0, d), (h - thick, h), kit.colour, WOOD)
    if h > 0.15:
        legs(kit, h - thick, 0.06, kit.accent, inset=0.02)
        rail = min(0.08, 0.2 * h)
        kit.box(
            (0.05, w - 0.05), (0.05, d - 0.05), (h - thick - rail, h - thick), scaled(kit.accent, 0.9), WOOD
        )


def desk(kit: Kit) -> None:
    """A top, drawers on the right, legs on the left."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (h - 0.035, h), kit.colour, WOOD)
    for y in (0.02, d - 0.06):
        kit.box((0.02, 0.06), (y, y + 0.04), (0, h - 0.035), kit.accent, GLOSSY)
    side = 0.7 * w
    kit.box((side, w - 0.01), (0.03, d - 0.02), (0.04, h - 0.035), scaled(kit.colour, 0.85), WOOD)
    for k in range(3):
        z0, z1 = 0.06 + (h - 0.12) * k / 3, 0.04 + (h - 0.12) * (k + 1) / 3
        kit.box((side + 0.01, w - 0.02), (0.015, 0.03), (z0, z1), kit.colour, WOOD)
        middle = (side + w) / 2
        kit.box((middle - 0.05, middle + 0.05), (0, 0.015), (z1 - 0.05, z1 - 0.035), DARK)


def fronts(kit: Kit, columns: int, rows: int, colour: Colour, knob: Colour = BRASS) -> None:
    """Drawer or door fronts with handles over the whole front of a body that starts at y = 0.03."""
    w, h = kit.w, kit.h
    for i in range(columns):
        for k in range(rows):
            x0, x1 = 0.02 + (w - 0.04) * i / columns, 0.02 + (w - 0.04) * (i + 1) / columns
            z0, z1 = 0.05 + (h - 0.08) * k / rows, 0.05 + (h - 0.08) * (k + 1) / rows
            kit.box((x0 + 0.008, x1 - 0.008), (0.012, 0.031), (z0 + 0.008, z1 - 0.008), colour, WOOD)
            if rows >= columns:
                half, middle = min(0.08, (x1 - x0) / 5), (x0 + x1) / 2
                z = z1 - 0.3 * (z1 - z0)
                kit.box((middle - half, middle + half), (0, 0.012), (z - 0.01, z + 0.01), knob, GLOSSY)
            else:
                x = x1 - 0.05 if i % 2 == 0 else x0 + 0.05
                middle = (z0 + z1) / 2
                kit.box((x - 0.01, x + 0.01), (0, 0.012), (middle - 0.1, middle + 0.1), knob, GLOSSY)


def body(kit: Kit, colour: Colour) -> None:
    """A closed body that leaves 3 cm at the front for doors or drawers."""
    front = min(0.03, kit.d / 3)
    kit.box((0, kit.w), (front, kit.d), (0, kit.h), colour, WOOD)


def cabinet(kit: Kit) -> None:
    """A body with doors, or drawers where it is low."""
    body(kit, scaled(kit.colour, 0.85))
    columns = max(1, round(kit.w / 0.5))
    fronts(kit, columns, 1 if kit.h > 1.2 else max(1, round(kit.h / 0.35)), kit.colour, kit.accent)


def wardrobe(kit: Kit) -> None:
    """Tall doors under a cornice."""
    body(kit, scaled(kit.colour, 0.8))
    fronts(kit, max(2, round(kit.w / 0.55)), 1, kit.colour, kit.accent)


def dresser(kit: Kit) -> None:
    """Rows of drawers."""
    body(kit, scaled(kit.colour, 0.8))
    fronts(kit, 2 if kit.w > 0.9 else 1, max(2, round(kit.h / 0.25)), kit.colour, kit.accent)


def nightstand(kit: Kit) -> None:
    """Two drawers on short feet."""
    body(kit, scaled(kit.colour, 0.8))
    fronts(kit, 1, 2, kit.colour, kit.accent)
    kit.box((0, kit.w), (0, kit.d), (kit.h - 0.025, kit.h), scaled(kit.colour, 1.25), WOOD)


def tv_stand(kit: Kit) -> None:
    """A low body with doors beside an open middle."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (h - 0.03, h), kit.colour, WOOD)
    kit.box((0, w), (0, d), (0, 0.05), scaled(kit.colour, 0.7), WOOD)
    kit.box((0.34 * w, 0.66 * w), (0.7 * d, d), (0.05, h - 0.03), scaled(kit.colour, 0.6), WOOD)
    for x in (0.0, 0.66 * w):
        kit.box((x, x + 0.34 * w), (0.02, d), (0.05, h - 0.03), mixed(kit.colour, kit.accent, 0.35), WOOD)
        kit.box((x + 0.15 * w, x + 0.19 * w), (0, 0.02), (0.5 * h, 0.55 * h), STEEL, GLOSSY)


def bookshelf(kit: Kit) -> None:
    """Sides, shelves, a back, and books of many colours."""
    w, d, h = kit.w, kit.d, kit.h
    side = min(0.03, w / 12)
    wood = kit.colour
    kit.box((0, w), (d - 0.02, d), (0, h), scaled(wood, 0.7), WOOD)
    for x in (0.0, w - side):
        kit.box((x, x + side), (0, d - 0.02), (0, h), wood, WOOD)
    rows = max(2, round(h / 0.36))
    pitch = (h - side) / rows
    for k in range(rows + 1):
        kit.box((side, w - side), (0, d - 0.02), (k * pitch, k * pitch + side), wood, WOOD)
    for k in range(rows):
        x, low = side + 0.01, k * pitch + side
        while x < w - side - 0.05:
            wide = float(kit.rng.uniform(0.035, 0.085))
            if kit.rng.random() < 0.12:
                x += 2 * wide
                continue
            tall = float(kit.rng.uniform(0.6, 0.9)) * (pitch - side)
            colour = BOOKS[int(kit.rng.integers(len(BOOKS)))]
            end = min(x + wide - 0.004, w - side)
            kit.box(
                (x, end), (0.12 * d + 0.03 * float(kit.rng.random()) * d, d - 0.03), (low, low + tall), colour
            )
            x += wide


def shoe_rack(kit: Kit) -> None:
    """Slatted shelves with shoes on them."""
    w, d, h = kit.w, kit.d, kit.h
    for x in (0.0, w - 0.03):
        kit.box((x, x + 0.03), (0, d), (0, h), kit.colour, WOOD)
    rows = min(5, max(2, round(h / 0.25)))
    for k in range(rows):
        z = 0.05 + (h - 0.08) * k / (rows - 0.5)
        kit.box((0.03, w - 0.03), (0, d), (z, z + 0.02), kit.accent, WOOD)
        for i in range(min(6, max(1, int(w / 0.25)))):
            x = 0.05 + i * 0.25
            if x + 0.18 > w or kit.rng.random() < 0.25:
                continue
            colour = BOOKS[int(kit.rng.integers(len(BOOKS)))]
            high = min(h, z + 0.12)
            kit.blob((x, x + 0.09), (0.05 * d, 0.95 * d), (z + 0.02, high), colour)
            kit.blob((x + 0.1, x + 0.19), (0.05 * d, 0.95 * d), (z + 0.02, high), colour)


def counter(kit: Kit) -> None:
    """A stone top; under a tall one a row of cupboards."""
    w, d, h = kit.w, kit.d, kit.h
    if h < 0.45:
        kit.box((0, w), (0, d), (0.45 * h, h), kit.colour, STONE)
        kit.box((0.02, w - 0.02), (0.03, d - 0.02), (0, 0.45 * h), kit.accent, MATTE)
        return
    body(kit, kit.accent)
    fronts(kit, max(1, round(w / 0.6)), 1, mixed(kit.accent, WHITE, 0.2), STEEL)
    kit.box((0, w), (0, d), (h - 0.04, h), kit.colour, STONE)


def coat_hanger(kit: Kit) -> None:
    """A post with hooks and a coat; a small one is a rail with hooks."""
    w, d, h = kit.w, kit.d, kit.h
    cx, cy = w / 2, d / 2
    if h > 0.8:
        kit.tube((cx, cy, 0), (cx, cy, 0.04), (0.45 * w, 0.45 * d), kit.colour, WOOD)
        kit.tube((cx, cy, 0.04), (cx, cy, h), 0.022, kit.colour, WOOD)
        for sx, sy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            tip = (cx + sx * 0.42 * w, cy + sy * 0.42 * d, h - 0.06)
            kit.tube((cx, cy, h - 0.2), tip, 0.014, kit.colour, WOOD)
        kit.blob((0.05 * w, 0.6 * w), (0.15 * d, 0.8 * d), (0.42 * h, 0.92 * h), kit.accent, power=2.5)
        return
    kit.box((0, w), (0.6 * d, d), (0.55 * h, h), kit.colour, WOOD)
    for k in range(4):
        x = w * (k + 0.5) / 4
        kit.tube((x, 0, 0.6 * h), (x, 0.6 * d, 0.7 * h), min(0.012, 0.2 * h), GREY, GLOSSY, axis=1)
    kit.box((0.1 * w, 0.35 * w), (0.1 * d, 0.6 * d), (0, 0.7 * h), kit.accent)
