"""Things people own, and a plain model for categories without one."""

from __future__ import annotations

import zlib

from tolman.render.palette import BLACK, BRASS, EARTH, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import FABRIC, GLOSSY, GLOW, MATTE, WOOD, Kit


def plant(kit: Kit) -> None:
    """A clay pot, a stem, and leaves in several greens."""
    w, d, h = kit.w, kit.d, kit.h
    pot = 0.3 * h
    kit.tube(
        (w / 2, d / 2, 0), (w / 2, d / 2, pot), (0.22 * w, 0.22 * d), kit.accent, MATTE, (0.34 * w, 0.34 * d)
    )
    kit.tube((w / 2, d / 2, pot - 0.002), (w / 2, d / 2, pot), (0.3 * w, 0.3 * d), EARTH)
    kit.tube((w / 2, d / 2, pot), (w / 2, d / 2, 0.75 * h), 0.03 * min(w, d), rgb(0x5C6B2E))
    kit.blob((0.2 * w, 0.8 * w), (0.2 * d, 0.8 * d), (0.5 * h, h), kit.colour)
    for k, (sx, sy) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        x, y = (0.0 if sx == 0 else 0.5) * w, (0.0 if sy == 0 else 0.5) * d
        low = (0.34 + 0.1 * float(kit.rng.random())) * h
        tone = scaled(kit.colour, (0.75, 1.15, 0.9, 1.3)[k])
        kit.blob((x, x + 0.5 * w), (y, y + 0.5 * d), (low, low + 0.42 * h), tone)


def trash_bin(kit: Kit) -> None:
    """Open and tapered, dark inside; a large one has a lid."""
    w, d, h = kit.w, kit.d, kit.h
    top = 0.9 * h if h > 0.55 else h
    inset = 0.14
    kit.box(
        (inset * w, (1 - inset) * w),
        (inset * d, (1 - inset) * d),
        (0, top),
        kit.colour,
        MATTE,
        top=(0, w, 0, d),
    )
    kit.box((0, w), (0, d), (0.9 * top, top - 0.004), scaled(kit.colour, 1.35))
    if top < h:
        kit.blob((0, w), (0, d), (0.82 * h, h), kit.accent, GLOSSY, power=4)
    else:
        kit.box((0.1 * w, 0.9 * w), (0.1 * d, 0.9 * d), (top - 0.004, top), BLACK)
        kit.blob((0.25 * w, 0.7 * w), (0.25 * d, 0.7 * d), (0.6 * top, h), WHITE, FABRIC)


def bucket(kit: Kit) -> None:
    """A tapered pail with a light rim and water."""
    w, d, h = kit.w, kit.d, kit.h
    kit.tube(
        (w / 2, d / 2, 0), (w / 2, d / 2, h), (0.36 * w, 0.36 * d), kit.colour, GLOSSY, (0.48 * w, 0.48 * d)
    )
    kit.tube((w / 2, d / 2, 0.92 * h), (w / 2, d / 2, 0.99 * h), (w / 2, d / 2), kit.accent, GLOSSY)
    kit.tube((w / 2, d / 2, 0.99 * h), (w / 2, d / 2, h), (0.42 * w, 0.42 * d), rgb(0x163A70))


def basket(kit: Kit) -> None:
    """Woven bands, laundry inside."""
    w, d, h = kit.w, kit.d, kit.h
    for k in range(5):
        tone = kit.colour if k % 2 else kit.accent
        slim = 0.1 * (1 - k / 4) + (0.0 if k % 2 else 0.02)
        kit.box(
            (slim * w, (1 - slim) * w),
            (slim * d, (1 - slim) * d),
            (k * 0.17 * h, (k + 1) * 0.17 * h),
            tone,
            WOOD,
        )
    kit.blob((0.08 * w, 0.92 * w), (0.08 * d, 0.92 * d), (0.6 * h, h), WHITE, FABRIC, power=3)


def crate(kit: Kit) -> None:
    """Slats around an open top."""
    w, d, h = kit.w, kit.d, kit.h
    wall = 0.06 * min(w, d)
    for k in range(3):
        z = (k * 0.36 * h, (k * 0.36 + 0.26) * h)
        for y in ((0, wall), (d - wall, d)):
            kit.box((0, w), y, z, kit.colour)
        for x in ((0, wall), (w - wall, w)):
            kit.box(x, (wall, d - wall), z, kit.accent)
    kit.box((wall, w - wall), (wall, d - wall), (0, 0.5 * h), scaled(kit.accent, 0.6))


def carton(kit: Kit) -> None:
    """A cardboard box with tape."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0.003, w - 0.003), (0.003, d - 0.003), (0, h - 0.003), kit.colour)
    kit.box((0.44 * w, 0.56 * w), (0, d), (0.5 * h, h), kit.accent)


def paper_bag(kit: Kit) -> None:
    """A bag with two handles."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, 0.8 * h), kit.colour, top=(0, w, 0.1 * d, 0.9 * d))
    for y in (0.2 * d, 0.7 * d):
        for x in ((0.3 * w, 0.35 * w), (0.65 * w, 0.7 * w)):
            kit.box(x, (y, y + 0.1 * d), (0.8 * h, h), kit.accent)
        kit.box((0.3 * w, 0.7 * w), (y, y + 0.1 * d), (0.95 * h, h), kit.accent)


def backpack(kit: Kit) -> None:
    """A rounded body with a front pocket, a zip and straps."""
    w, d, h = kit.w, kit.d, kit.h
    kit.blob((0, w), (0.2 * d, 0.9 * d), (0, 0.95 * h), kit.colour, FABRIC, power=4)
    kit.blob(
        (0.14 * w, 0.86 * w), (0, 0.6 * d), (0.05 * h, 0.5 * h), scaled(kit.colour, 0.75), FABRIC, power=4
    )
    kit.box((0.2 * w, 0.8 * w), (0.01 * d, 0.1 * d), (0.38 * h, 0.42 * h), kit.accent)
    for x in (0.2, 0.68):
        kit.box((x * w, (x + 0.12) * w), (0.86 * d, d), (0.1 * h, 0.9 * h), kit.accent, FABRIC)
    kit.box((0.42 * w, 0.58 * w), (0.45 * d, 0.65 * d), (0.88 * h, h), kit.accent)


def suitcase(kit: Kit) -> None:
    """A ribbed case with a handle and wheels."""
    w, d, h = kit.w, kit.d, kit.h
    low, top = 0.06 * h, 0.88 * h
    kit.blob((0, w), (0, d), (low, top), kit.colour, GLOSSY, power=8)
    for k in range(3):
        x = (0.2 + 0.25 * k) * w
        kit.box((x, x + 0.08 * w), (0, d), (low + 0.1 * h, top - 0.1 * h), scaled(kit.colour, 0.7))
    for x in (0.3, 0.65):
        kit.box((x * w, (x + 0.05) * w), (0.4 * d, 0.6 * d), (top - 0.03 * h, h), STEEL, GLOSSY)
    kit.box((0.3 * w, 0.7 * w), (0.4 * d, 0.6 * d), (0.96 * h, h), kit.accent)
    for x in (0.05, 0.8):
        kit.box((x * w, (x + 0.15) * w), (0.2 * d, 0.8 * d), (0, low + 0.02 * h), kit.accent)


def shoes(kit: Kit) -> None:
    """A pair, side by side: sole, toe, shaft."""
    w, d, h = kit.w, kit.d, kit.h
    for x in (0.0, 0.54 * w):
        kit.blob((x, x + 0.46 * w), (0, d), (0, 0.3 * h), kit.accent, power=5)
        kit.blob(
            (x + 0.02 * w, x + 0.44 * w),
            (0.02 * d, 0.98 * d),
            (0.1 * h, 0.62 * h),
            kit.colour,
            FABRIC,
            power=3,
        )
        middle = (x + 0.23 * w, 0.72 * d)
        kit.tube(
            (*middle, 0.35 * h), (*middle, h), (0.2 * w, 0.26 * d), kit.colour, FABRIC, (0.17 * w, 0.22 * d)
        )
        kit.tube((*middle, 0.95 * h), (*middle, h), (0.12 * w, 0.16 * d), BLACK)


def bottle(kit: Kit) -> None:
    """A body, a neck and a cap."""
    w, d, h = kit.w, kit.d, kit.h
    c = (w / 2, d / 2)
    kit.tube((*c, 0), (*c, 0.6 * h), (w / 2, d / 2), kit.colour, GLOSSY)
    kit.tube((*c, 0.6 * h), (*c, 0.75 * h), (w / 2, d / 2), kit.colour, GLOSSY, (0.18 * w, 0.18 * d))
    kit.tube((*c, 0.75 * h), (*c, h), (0.18 * w, 0.18 * d), kit.colour, GLOSSY)
    kit.tube((*c, 0.2 * h), (*c, 0.45 * h), (w / 2, d / 2), kit.accent)


def piano(kit: Kit) -> None:
    """An upright piano with white and black keys."""
    w, d, h = kit.w, kit.d, kit.h
    key = 0.62 * h
    kit.box((0, w), (0.45 * d, d), (0, h), kit.colour, GLOSSY)
    kit.box((0, w), (0.1 * d, 0.45 * d), (key - 0.1 * h, key - 0.02), kit.colour, GLOSSY)
    for x in ((0, 0.05 * w), (0.95 * w, w)):
        kit.box(x, (0, 0.45 * d), (0, key + 0.03), kit.colour, GLOSSY)
    count = 22
    step = 0.9 * w / count
    for k in range(count):
        left = 0.05 * w + k * step
        kit.box(
            (left + 0.001, left + step - 0.001), (0.08 * d, 0.45 * d), (key - 0.02, key), kit.accent, GLOSSY
        )
        if k % 7 not in (2, 6) and k < count - 1:
            kit.box((left + 0.7 * step, left + 1.3 * step), (0.25 * d, 0.45 * d), (key, key + 0.012), BLACK)
    kit.box((0.35 * w, 0.65 * w), (0.43 * d, 0.45 * d), (0.72 * h, 0.92 * h), WHITE)
    for pedal in (0.45, 0.52):
        kit.box((pedal * w, (pedal + 0.02) * w), (0.3 * d, 0.45 * d), (0.04 * h, 0.06 * h), BRASS, GLOSSY)


def guitar(kit: Kit) -> None:
    """Two bouts with a sound hole, a neck and a head."""
    w, d, h = kit.w, kit.d, kit.h
    y = (0.3 * d, d)
    kit.tube((w / 2, y[0], 0.2 * h), (w / 2, y[1], 0.2 * h), (0.2 * h, w / 2), kit.colour, WOOD, axis=1)
    kit.tube((w / 2, y[0], 0.42 * h), (w / 2, y[1], 0.42 * h), (0.13 * h, 0.38 * w), kit.colour, WOOD, axis=1)
    kit.tube((w / 2, 0.28 * d, 0.33 * h), (w / 2, y[0], 0.33 * h), 0.06 * h, BLACK, axis=1)
    kit.box((0.44 * w, 0.56 * w), (0.15 * d, 0.35 * d), (0.3 * h, 0.9 * h), kit.accent, WOOD)
    kit.box((0.36 * w, 0.64 * w), (0.2 * d, 0.6 * d), (0.9 * h, h), kit.accent, WOOD)
    kit.box((0.3 * w, 0.7 * w), (0.0, 0.3 * d), (0.16 * h, 0.19 * h), kit.accent, WOOD)


def generic(category: str) -> str:
    """Which of the four plain models a category without a model of its own always gets."""
    return ("banded", "panelled", "capped", "round")[zlib.crc32(category.encode()) >> 8 & 3]


def banded(kit: Kit) -> None:
    """A box with bands of the accent colour around it."""
    kit.box((0.01 * kit.w, 0.99 * kit.w), (0.01 * kit.d, 0.99 * kit.d), (0, kit.h), kit.colour)
    for z in (0.2, 0.65):
        kit.box((0, kit.w), (0, kit.d), (z * kit.h, (z + 0.15) * kit.h), kit.accent)


def panelled(kit: Kit) -> None:
    """A box with a panel of the accent colour on its front and its top, and a light knob."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.06 * d, d), (0, 0.97 * h), kit.colour)
    kit.box((0.15 * w, 0.85 * w), (0.02 * d, 0.06 * d), (0.15 * h, 0.85 * h), kit.accent)
    kit.box((0.15 * w, 0.85 * w), (0.2 * d, 0.8 * d), (0.97 * h, h), kit.accent)
    kit.box((0.45 * w, 0.55 * w), (0, 0.02 * d), (0.45 * h, 0.55 * h), WHITE, GLOW)


def capped(kit: Kit) -> None:
    """A tapered box under a lid of the accent colour."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box(
        (0.12 * w, 0.88 * w),
        (0.12 * d, 0.88 * d),
        (0, 0.8 * h),
        kit.colour,
        top=(0.04 * w, 0.96 * w, 0.04 * d, 0.96 * d),
    )
    kit.box((0, w), (0, d), (0.8 * h, h), kit.accent, top=(0.1 * w, 0.9 * w, 0.1 * d, 0.9 * d))


def rounded(kit: Kit) -> None:
    """A drum with a ring of the accent colour and a dome."""
    w, d, h = kit.w, kit.d, kit.h
    c = (w / 2, d / 2)
    kit.tube((*c, 0), (*c, 0.7 * h), (0.46 * w, 0.46 * d), kit.colour)
    kit.tube((*c, 0.25 * h), (*c, 0.45 * h), (w / 2, d / 2), kit.accent)
    kit.blob((0.04 * w, 0.96 * w), (0.04 * d, 0.96 * d), (0.4 * h, h), mixed(kit.colour, kit.accent, 0.5))
