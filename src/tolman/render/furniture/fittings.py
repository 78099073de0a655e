"""What hangs on walls or belongs to the building."""

from __future__ import annotations

from tolman.render.palette import BLACK, BRASS, DARK, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import BRICK, FABRIC, GLOSSY, GLOW, MATTE, SCREEN, STONE, WOOD, Colour, Kit, Material

BOARD = GLOSSY._replace(glow=0.2)


def frame(kit: Kit, edge: float, colour: Colour, y: tuple[float, float], material: Material = WOOD) -> None:
    """Four bars around the front."""
    w, h = kit.w, kit.h
    for x in ((0, edge), (w - edge, w)):
        kit.box(x, y, (0, h), colour, material)
    for z in ((0, edge), (h - edge, h)):
        kit.box((edge, w - edge), y, z, colour, material)


def door(kit: Kit) -> None:
    """A white frame, a panelled leaf and a handle; both sides alike, as either may face the room."""
    w, d, h = kit.w, kit.d, kit.h
    edge = min(0.07, 0.1 * w)
    for x in ((0, edge), (w - edge, w)):
        kit.box(x, (0, d), (0, h), kit.accent)
    kit.box((edge, w - edge), (0, d), (h - edge, h), kit.accent)
    kit.box((edge, w - edge), (0.25 * d, 0.75 * d), (0, h - edge), kit.colour, WOOD)
    panel = scaled(kit.colour, 0.78)
    for z0, z1 in ((0.08, 0.42), (0.52, 0.92)):
        for x0, x1 in ((0.2, 0.47), (0.53, 0.8)):
            kit.box((x0 * w, x1 * w), (0.2 * d, 0.8 * d), (z0 * h, z1 * h), panel, WOOD)
    kit.box((0.82 * w, 0.9 * w), (0, d), (0.47 * h, 0.49 * h), BRASS, GLOSSY)


def window(kit: Kit) -> None:
    """A frame with four bright panes."""
    w, d, h = kit.w, kit.d, kit.h
    edge = min(0.06, 0.1 * min(w, h))
    frame(kit, edge, kit.accent, (0, d), MATTE)
    kit.box((edge, w - edge), (0.3 * d, 0.7 * d), (edge, h - edge), kit.colour, GLOW)
    bar = 0.5 * edge
    kit.box((w / 2 - bar, w / 2 + bar), (0.1 * d, 0.9 * d), (edge, h - edge), kit.accent)
    kit.box((edge, w - edge), (0.1 * d, 0.9 * d), (0.6 * h - bar, 0.6 * h + bar), kit.accent)
    kit.box(
        (edge, w - edge),
        (0.26 * d, 0.74 * d),
        (0.5 * edge, 0.3 * h),
        mixed(kit.colour, rgb(0x7FB56A), 0.6),
        GLOW,
    )


def mirror(kit: Kit) -> None:
    """A golden frame around a pale glass with slanting streaks."""
    w, d, h = kit.w, kit.d, kit.h
    if h < min(w, d):
        kit.box((0, w), (0, d), (0, h), kit.accent, GLOSSY)
        kit.box((0.06 * w, 0.94 * w), (0.06 * d, 0.94 * d), (0.9 * h, h), kit.colour, SCREEN)
        return
    edge = min(0.05, 0.1 * min(w, h))
    frame(kit, edge, kit.accent, (0, d))
    kit.box((edge, w - edge), (0.3 * d, d), (edge, h - edge), kit.colour, SCREEN)
    y, low, high = (0.2 * d, 0.3 * d), 0.12 * h, 0.88 * h
    for x in (0.2, 0.5):
        kit.box(
            (x * w, (x + 0.08) * w), y, (low, high), WHITE, SCREEN, top=((x + 0.2) * w, (x + 0.28) * w, *y)
        )


def whiteboard(kit: Kit) -> None:
    """A white board in a metal frame with a pen tray and drawn lines."""
    w, d, h = kit.w, kit.d, kit.h
    if h < min(w, d):
        kit.box((0, w), (0, d), (0, h), kit.colour)
        return
    kit.box((0, w), (0.5 * d, d), (0, h), kit.accent, GLOSSY)
    kit.box((0.02 * w, 0.98 * w), (0.3 * d, 0.5 * d), (0.04 * h, 0.96 * h), kit.colour, BOARD)
    kit.box((0.2 * w, 0.8 * w), (0, 0.5 * d), (0, 0.04 * h), kit.accent)
    pens = (rgb(0xC0392B), rgb(0x2C5AA0), rgb(0x2F8F5B))
    for k in range(4):
        z = (0.8 - 0.15 * k) * h
        end = 0.3 + 0.5 * float(kit.rng.random())
        kit.box((0.1 * w, end * w), (0.25 * d, 0.3 * d), (z, z + 0.02 * h), pens[k % 3])


def picture(kit: Kit) -> None:
    """A framed landscape."""
    w, d, h = kit.w, kit.d, kit.h
    frame(kit, 0.08 * min(w, h), kit.accent, (0, d))
    kit.box((0, w), (0.4 * d, d), (0, h), kit.colour)
    kit.box((0, w), (0.3 * d, 0.4 * d), (0, 0.4 * h), rgb(0x5F9B4A))
    kit.tube(
        (0.7 * w, 0.3 * d, 0.7 * h), (0.7 * w, 0.4 * d, 0.7 * h), 0.12 * min(w, h), rgb(0xF7D774), axis=1
    )


def clock(kit: Kit) -> None:
    """A round face with a red rim, hands and hour marks."""
    w, d, h = kit.w, kit.d, kit.h
    rx, rz = w / 2, h / 2
    kit.tube((rx, 0.3 * d, rz), (rx, d, rz), (rz, rx), kit.accent, axis=1)
    kit.tube((rx, 0.15 * d, rz), (rx, 0.3 * d, rz), (0.85 * rz, 0.85 * rx), kit.colour, GLOSSY, axis=1)
    y = (0.0, 0.15 * d)
    for x, z in ((1, 1.7), (1, 0.3), (1.7, 1), (0.3, 1)):
        kit.box(((x - 0.06) * rx, (x + 0.06) * rx), y, ((z - 0.06) * rz, (z + 0.06) * rz), BLACK)
    kit.box((0.95 * rx, 1.05 * rx), y, (rz, 1.55 * rz), BLACK)
    kit.box((rx, 1.45 * rx), y, (0.95 * rz, 1.05 * rz), BLACK)


def radiator(kit: Kit) -> None:
    """Upright ribs between two rails."""
    w, d, h = kit.w, kit.d, kit.h
    count = min(40, max(4, round(w / 0.09)))
    for k in range(count):
        x = w * k / count
        kit.box((x, x + 0.66 * w / count), (0, 0.8 * d), (0.06 * h, 0.96 * h), kit.colour, GLOSSY)
    for z in (0.0, 0.88):
        kit.box((0, w), (0.25 * d, 0.6 * d), (z * h, (z + 0.12) * h), kit.accent, GLOSSY)
    kit.box((0, 0.03 * w), (0.3 * d, d), (0.8 * h, h), rgb(0xD6401F))


def fireplace(kit: Kit) -> None:
    """A brick surround with a mantel, a black opening, logs and fire."""
    w, d, h = kit.w, kit.d, kit.h
    wide, tall = 0.56 * w, 0.6 * h
    x0, x1 = (w - wide) / 2, (w + wide) / 2
    front = 0.12 * d
    for x in ((0.03 * w, x0), (x1, 0.97 * w)):
        kit.box(x, (front, d), (0, 0.92 * h), kit.colour, BRICK)
    kit.box((x0, x1), (front, d), (tall, 0.92 * h), kit.colour, BRICK)
    kit.box((x0, x1), (0.75 * d, d), (0, tall), BLACK)
    kit.box((x0, x1), (front, 0.75 * d), (0, 0.03 * h), DARK, STONE)
    kit.box((0, w), (0, d), (0.92 * h, h), mixed(kit.colour, WHITE, 0.65), STONE)
    for k in range(3):
        at = x0 + wide * (0.25 + 0.22 * k)
        kit.tube(
            (at - 0.1 * wide, 0.5 * d, 0.09 * h),
            (at + 0.12 * wide, 0.5 * d, 0.11 * h),
            0.035 * h,
            rgb(0x5A3A22),
            axis=0,
        )
        high = 0.25 + 0.16 * (k == 1)
        kit.tube(
            (at, 0.5 * d, 0.12 * h), (at, 0.5 * d, (0.12 + high) * h), 0.09 * wide, kit.accent, GLOW, 0.0
        )


def curtain(kit: Kit) -> None:
    """Folds on a rail."""
    w, d, h = kit.w, kit.d, kit.h
    kit.tube((0, d / 2, 0.98 * h), (w, d / 2, 0.98 * h), 0.02 * h, STEEL, GLOSSY, axis=0)
    count = max(4, round(w / 0.12))
    for k in range(count):
        x = w * (k + 0.5) / count
        tone = kit.colour if k % 2 else kit.accent
        kit.tube((x, d / 2, 0), (x, d / 2, 0.96 * h), (0.55 * w / count, 0.5 * d), tone, FABRIC)


def rug(kit: Kit) -> None:
    """A flat cloth with a border."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, 0.8 * h), kit.accent, FABRIC)
    kit.box((0.08 * w, 0.92 * w), (0.08 * d, 0.92 * d), (0, 0.9 * h), kit.colour, FABRIC)
    kit.box((0.3 * w, 0.7 * w), (0.3 * d, 0.7 * d), (0, h), mixed(kit.accent, kit.colour, 0.3), MATTE)
