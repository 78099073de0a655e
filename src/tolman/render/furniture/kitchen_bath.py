"""Kitchen and bathroom."""

from __future__ import annotations

from tolman.render.palette import BLACK, DARK, GREY, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import FABRIC, GLOSSY, GLOW, MATTE, SCREEN, WOOD, Kit


def refrigerator(kit: Kit) -> None:
    """A tall body, a freezer door under a fridge door, seams and long handles."""
    w, d, h = kit.w, kit.d, kit.h
    body = min(0.06, d / 4)
    kit.box((0, w), (body, d), (0, h), kit.accent, GLOSSY)
    split = 0.62 * h if kit.rng.random() < 0.5 else 0.36 * h
    for z0, z1 in ((0.03 * h, split - 0.008), (split + 0.008, h)):
        kit.box((0, w), (0.4 * body, body - 0.006), (z0, z1), kit.colour, GLOSSY)
        length = 0.55 * (z1 - z0)
        low = z1 - 0.08 * h - length if z1 < 0.9 * h else z0 + 0.04 * h
        low = max(z0, min(low, z1 - length))
        kit.box((0.08 * w, 0.13 * w), (0, 0.4 * body), (low, low + length), DARK, GLOSSY)


def stove(kit: Kit) -> None:
    """Four burners on a black top; a tall one has an oven door and knobs below."""
    w, d, h = kit.w, kit.d, kit.h
    top = h - min(0.02, 0.5 * h)
    if h > 0.3:
        kit.box((0, w), (0.03, d), (0, top), WHITE, GLOSSY)
        kit.box((0.06 * w, 0.94 * w), (0.015, 0.03), (0.12 * h, 0.7 * h), BLACK, SCREEN)
        kit.box((0.1 * w, 0.9 * w), (0, 0.015), (0.72 * h, 0.75 * h), STEEL, GLOSSY)
        for k in range(5):
            x = w * (k + 1) / 6
            kit.tube((x, 0, 0.85 * h), (x, 0.03, 0.85 * h), 0.025, kit.accent, axis=1)
    kit.box((0, w), (0, d), (0 if h <= 0.3 else top - 0.02, top), kit.colour, GLOSSY)
    for x in (0.28, 0.72):
        for y in (0.28, 0.72):
            r = 0.15 * min(w, d)
            hot = kit.accent if (x < 0.5) == (y < 0.5) else mixed(kit.accent, GREY, 0.4)
            kit.tube((x * w, y * d, top), (x * w, y * d, top + 0.3 * (h - top)), 1.25 * r, GREY)
            kit.tube((x * w, y * d, top), (x * w, y * d, top + 0.7 * (h - top)), r, hot)
            kit.tube((x * w, y * d, top), (x * w, y * d, h), 0.5 * r, BLACK)


def oven(kit: Kit) -> None:
    """A dark glass door with a bar handle and knobs above."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.04, d), (0, h), kit.colour, GLOSSY)
    kit.box((0.05 * w, 0.95 * w), (0.02, 0.04), (0.08 * h, 0.72 * h), kit.accent, SCREEN)
    kit.box((0.15 * w, 0.85 * w), (0.01, 0.02), (0.2 * h, 0.55 * h), rgb(0x6B3A12), SCREEN)
    kit.box((0.1 * w, 0.9 * w), (0, 0.02), (0.74 * h, 0.77 * h), STEEL, GLOSSY)
    for k in range(4):
        x = w * (k + 1) / 5
        kit.tube((x, 0.01, 0.88 * h), (x, 0.04, 0.88 * h), 0.03 * w, STEEL, GLOSSY, axis=1)


def microwave(kit: Kit) -> None:
    """A window and a panel with lit digits."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.05 * d, d), (0, h), kit.colour, GLOSSY)
    kit.box((0.05 * w, 0.7 * w), (0.02 * d, 0.05 * d), (0.12 * h, 0.88 * h), BLACK, SCREEN)
    kit.box((0.12 * w, 0.63 * w), (0, 0.02 * d), (0.25 * h, 0.75 * h), rgb(0x5C5236), SCREEN)
    kit.box((0.76 * w, 0.95 * w), (0.02 * d, 0.05 * d), (0.7 * h, 0.88 * h), kit.accent, GLOW)
    kit.box((0.76 * w, 0.95 * w), (0.02 * d, 0.05 * d), (0.12 * h, 0.6 * h), GREY)


def dishwasher(kit: Kit) -> None:
    """A white front, a blue panel, a wide handle."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.04, d), (0, h), scaled(kit.colour, 0.8), GLOSSY)
    kit.box((0.01, w - 0.01), (0.02, 0.04), (0.12 * h, 0.82 * h), kit.colour, GLOSSY)
    kit.box((0.01, w - 0.01), (0.02, 0.04), (0.84 * h, h), kit.accent, GLOSSY)
    kit.box((0.15 * w, 0.85 * w), (0, 0.02), (0.72 * h, 0.76 * h), STEEL, GLOSSY)


def washer(kit: Kit) -> None:
    """A white body with a big round glass door."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.06, d), (0, h), kit.colour, GLOSSY)
    r, z = 0.32 * min(w, h), 0.45 * h
    kit.tube((w / 2, 0.03, z), (w / 2, 0.06, z), r, STEEL, GLOSSY, axis=1)
    kit.tube((w / 2, 0, z), (w / 2, 0.06, z), 0.75 * r, kit.accent, SCREEN, axis=1)
    kit.box((0.05 * w, 0.4 * w), (0.045, 0.06), (0.86 * h, 0.96 * h), GREY)
    kit.tube((0.75 * w, 0.02, 0.9 * h), (0.75 * w, 0.06, 0.9 * h), 0.05 * w, kit.accent, axis=1)


def sink(kit: Kit) -> None:
    """A basin with a tap."""
    w, d, h = kit.w, kit.d, kit.h
    rim = 0.1 * min(w, d)
    low = 0.45 * h
    kit.box((0, w), (0, d), (0, low), scaled(kit.colour, 0.9), GLOSSY)
    for x in ((0, rim), (w - rim, w)):
        kit.box(x, (0, d), (low, 0.85 * h), kit.colour, GLOSSY)
    for y in ((0, rim), (d - 2 * rim, d)):
        kit.box((rim, w - rim), y, (low, 0.85 * h), kit.colour, GLOSSY)
    kit.tube((w / 2, d - rim, 0.85 * h), (w / 2, d - rim, h), 0.15 * rim, STEEL, GLOSSY)


def toilet(kit: Kit) -> None:
    """A bowl with a seat in front of a cistern."""
    w, d, h = kit.w, kit.d, kit.h
    seat = min(0.42, 0.55 * h)
    tank = 0.28 * d
    cy = (d - tank) / 2
    kit.tube(
        (w / 2, 0.6 * d, 0),
        (w / 2, cy + 0.02, 0.8 * seat),
        (0.28 * w, 0.26 * d),
        kit.accent,
        GLOSSY,
        (0.46 * w, cy),
    )
    kit.tube((w / 2, cy, 0.8 * seat), (w / 2, cy, seat), (0.5 * w, cy), kit.colour, GLOSSY)
    kit.tube(
        (w / 2, cy * 0.95, seat),
        (w / 2, cy * 0.95, seat + 0.012),
        (0.3 * w, 0.65 * cy),
        rgb(0x8FA9B5),
        GLOSSY,
    )
    kit.box((0.05 * w, 0.95 * w), (d - tank, d), (0.85 * seat, 0.95 * h), kit.colour, GLOSSY)
    kit.box((0, w), (d - tank - 0.01, d), (0.95 * h, 0.985 * h), kit.accent, GLOSSY)
    kit.tube((w / 2, d - tank / 2, 0.985 * h), (w / 2, d - tank / 2, h), 0.03, STEEL, GLOSSY)
    kit.box((0.2 * w, 0.8 * w), (d - tank - 0.02, d - tank), (seat, 0.85 * h), WHITE, GLOSSY)


def bathtub(kit: Kit) -> None:
    """A hollow tub with water in it and a tap at one end."""
    w, d, h = kit.w, kit.d, kit.h
    rim = min(0.09, 0.14 * min(w, d))
    top = 0.94 * h
    for x in ((0, rim), (w - rim, w)):
        kit.box(x, (0, d), (0, top), kit.colour, GLOSSY)
    for y in ((0, rim), (d - rim, d)):
        kit.box((rim, w - rim), y, (0, top), kit.colour, GLOSSY)
    kit.box((rim, w - rim), (rim, d - rim), (0, 0.62 * h), kit.accent, GLOSSY)
    if w >= d:
        kit.box((0, 0.06), (0.4 * d, 0.6 * d), (top, h), STEEL, GLOSSY)
        kit.box((0, 2 * rim), (0.47 * d, 0.53 * d), (top, 0.98 * h), STEEL, GLOSSY)
    else:
        kit.box((0.4 * w, 0.6 * w), (d - 0.06, d), (top, h), STEEL, GLOSSY)
        kit.box((0.47 * w, 0.53 * w), (d - 2 * rim, d), (top, 0.98 * h), STEEL, GLOSSY)


def towel(kit: Kit) -> None:
    """Hanging where it is tall, folded where it is flat; stripes."""
    w, d, h = kit.w, kit.d, kit.h
    if h > d:
        kit.box((0, w), (0.25 * d, 0.75 * d), (0, h), kit.colour, FABRIC)
        kit.box((0, w), (0, d), (0.94 * h, h), kit.colour, FABRIC)
        for z in (0.1, 0.2):
            kit.box((0, w), (0.2 * d, 0.8 * d), (z * h, (z + 0.04) * h), kit.accent, FABRIC)
        return
    for k in range(3):
        colour = kit.accent if k == 1 else kit.colour
        kit.box((0, w), (0, d), (h * k / 3, h * (k + 0.9) / 3), colour, FABRIC)


def cup(kit: Kit) -> None:
    """A cup of coffee with a handle along its longer side."""
    w, d, h = kit.w, kit.d, kit.h
    r = 0.5 * min(w, d) if max(w, d) > 1.2 * min(w, d) else 0.42 * min(w, d)
    x, y = (r, d / 2) if w >= d else (w / 2, r)
    kit.tube((x, y, 0), (x, y, h), 0.8 * r, kit.colour, GLOSSY, end_radius=r)
    kit.tube((x, y, h - 0.001), (x, y, h), 0.85 * r, rgb(0x4A2A18))
    for z in ((0.25 * h, 0.35 * h), (0.65 * h, 0.75 * h)):
        _handle(kit, 1.8 * r, z)
    _handle(kit, max(w, d) - 0.25 * r, (0.25 * h, 0.75 * h))


def _handle(kit: Kit, start: float, z: tuple[float, float]) -> None:
    """A bar from `start` to the far end of the longer side."""
    w, d = kit.w, kit.d
    if w >= d:
        kit.box((min(start, 0.9 * w), w), (0.44 * d, 0.56 * d), z, kit.colour, GLOSSY)
    else:
        kit.box((0.44 * w, 0.56 * w), (min(start, 0.9 * d), d), z, kit.colour, GLOSSY)


def bowl(kit: Kit) -> None:
    """A round bowl."""
    w, d, h = kit.w, kit.d, kit.h
    kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, h), (0.22 * w, 0.22 * d), kit.colour, GLOSSY, (w / 2, d / 2))
    kit.tube((w / 2, d / 2, 0.9 * h), (w / 2, d / 2, h), (0.42 * w, 0.42 * d), kit.accent, MATTE)


def pan(kit: Kit) -> None:
    """A black pan with a handle along its longer side."""
    w, d, h = kit.w, kit.d, kit.h
    if w >= d:
        r = min(w, d) / 2
        kit.tube((r, d / 2, 0), (r, d / 2, h), 0.85 * r, kit.colour, GLOSSY, end_radius=(r, d / 2))
        kit.box((min(2 * r, 0.8 * w), w), (0.44 * d, 0.56 * d), (0.6 * h, 0.9 * h), kit.accent, WOOD)
        return
    r = w / 2
    kit.tube((w / 2, r, 0), (w / 2, r, h), 0.85 * r, kit.colour, GLOSSY, end_radius=r)
    kit.box((0.44 * w, 0.56 * w), (min(2 * r, 0.8 * d), d), (0.6 * h, 0.9 * h), kit.accent, WOOD)


def kettle(kit: Kit) -> None:
    """A tapered jug with a handle and a lid."""
    w, d, h = kit.w, kit.d, kit.h
    kit.tube(
        (0.45 * w, d / 2, 0),
        (0.45 * w, d / 2, 0.9 * h),
        (0.42 * w, 0.5 * d),
        kit.colour,
        GLOSSY,
        (0.3 * w, 0.35 * d),
    )
    kit.tube((0.45 * w, d / 2, 0), (0.45 * w, d / 2, 0.1 * h), (0.45 * w, 0.5 * d), DARK)
    kit.blob((0.3 * w, 0.6 * w), (0.35 * d, 0.65 * d), (0.86 * h, h), kit.accent, GLOSSY)
    kit.box((0.86 * w, w), (0.42 * d, 0.58 * d), (0.2 * h, 0.85 * h), kit.accent)
    kit.box((0.6 * w, w), (0.42 * d, 0.58 * d), (0.78 * h, 0.86 * h), kit.accent)


def cutting_board(kit: Kit) -> None:
    """A board with a dark edge."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, h), kit.colour, WOOD)
