"""Things to sit and lie on."""

from __future__ import annotations

from tolman.render.palette import CREAM, DARK, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import FABRIC, GLOSSY, MATTE, WOOD, Kit


def legs(
    kit: Kit,
    top: float,
    thick: float,
    colour: tuple[float, float, float],
    inset: float = 0.0,
    taper: float = 0.7,
) -> None:
    """Four legs up to `top` metres in the corners, `inset` metres from the sides."""
    thick = min(thick, kit.w / 4, kit.d / 4)
    inset = min(inset, (kit.w - 2 * thick) / 4, (kit.d - 2 * thick) / 4)
    less = thick * (1 - taper) / 2
    for x in (inset, kit.w - inset - thick):
        for y in (inset, kit.d - inset - thick):
            kit.box(
                (x + less, x + thick - less),
                (y + less, y + thick - less),
                (0, top),
                colour,
                WOOD,
                top=(x, x + thick, y, y + thick),
            )


def chair(kit: Kit) -> None:
    """Legs, seat, back; a third of them are office chairs on a star base."""
    w, d, h = kit.w, kit.d, kit.h
    if h < 0.45:
        slab_seat(kit)
        return
    seat = min(0.46, 0.52 * h)
    office = kit.rng.random() < 0.3 and min(w, d) > 0.4
    thick = min(0.07, 0.1 * h)
    if office:
        cx, cy = w / 2, d / 2
        kit.box((0.05 * w, 0.95 * w), (cy - 0.03, cy + 0.03), (0.03, 0.075), DARK, GLOSSY)
        kit.box((cx - 0.03, cx + 0.03), (0.05 * d, 0.95 * d), (0.03, 0.075), DARK, GLOSSY)
        for x, y in ((0.07 * w, cy), (0.93 * w, cy), (cx, 0.07 * d), (cx, 0.93 * d)):
            kit.blob((x - 0.03, x + 0.03), (y - 0.03, y + 0.03), (0, 0.06), DARK)
        kit.tube((cx, cy, 0.06), (cx, cy, seat - thick), 0.03, STEEL, GLOSSY)
        for x in (0.0, w - 0.05):
            kit.box((x, x + 0.05), (0.3 * d, 0.75 * d), (seat + 0.17, seat + 0.2), DARK)
            kit.box((x + 0.01, x + 0.04), (0.5 * d, 0.56 * d), (seat - 0.02, seat + 0.17), DARK)
        kit.blob(
            (0.04 * w, 0.96 * w), (0, 0.92 * d), (seat - thick, seat + 0.02), kit.colour, FABRIC, power=5
        )
        kit.blob((0.1 * w, 0.9 * w), (d - 0.1, d), (seat + 0.06, h), kit.colour, FABRIC, power=5)
        kit.box((cx - 0.04, cx + 0.04), (d - 0.06, d - 0.03), (seat - thick, seat + 0.2), DARK)
        return
    wood = mixed(kit.accent, kit.colour, 0.25)
    legs(kit, seat - 0.04, 0.045, wood)
    kit.box((0, w), (0, d), (seat - 0.05, seat - 0.02), wood, WOOD)
    kit.box((0.02, w - 0.02), (0.01, d - 0.05), (seat - 0.02, seat + 0.025), kit.colour, FABRIC)
    post = min(0.045, w / 5)
    for x in (0.0, w - post):
        kit.box((x, x + post), (d - 0.045, d), (seat - 0.02, h), wood, WOOD)
    low = seat + 0.35 * (h - seat)
    kit.box((post, w - post), (d - 0.04, d - 0.008), (low, h), kit.colour, FABRIC)


def slab_seat(kit: Kit) -> None:
    """The part of a seat a scan saw when the box is too low for a whole chair: a cushion on a frame."""
    kit.box((0.1 * kit.w, 0.9 * kit.w), (0.1 * kit.d, 0.9 * kit.d), (0, 0.5 * kit.h), kit.accent, WOOD)
    kit.blob((0, kit.w), (0, kit.d), (0.4 * kit.h, kit.h), kit.colour, FABRIC, power=5)


def stool(kit: Kit) -> None:
    """A round seat on splayed legs; a wide one is an upholstered bench."""
    w, d, h = kit.w, kit.d, kit.h
    if max(w, d) > 1.4 * min(w, d):
        legs(kit, h * 0.7, 0.05, kit.accent, inset=0.03)
        kit.blob((0, w), (0, d), (h * 0.6, h), kit.colour, FABRIC, power=6)
        return
    for sx in (-1, 1):
        for sy in (-1, 1):
            foot = (w / 2 + sx * (0.38 * w), d / 2 + sy * (0.38 * d), 0.0)
            head = (w / 2 + sx * 0.22 * w, d / 2 + sy * 0.22 * d, h - 0.04)
            kit.tube(foot, head, 0.018, kit.accent, WOOD, end_radius=0.024)
    kit.tube((w / 2, d / 2, 0.3 * h), (w / 2, d / 2, 0.3 * h + 0.02), (0.36 * w, 0.36 * d), kit.accent, WOOD)
    kit.tube((w / 2, d / 2, h - 0.07), (w / 2, d / 2, h), (w / 2, d / 2), kit.colour, FABRIC)


def bench(kit: Kit) -> None:
    """A long wooden seat."""
    legs(kit, kit.h - 0.05, 0.06, kit.accent, inset=0.04)
    for k in range(3):
        y = k * kit.d / 3
        kit.box((0, kit.w), (y + 0.005, y + kit.d / 3 - 0.005), (kit.h - 0.05, kit.h), kit.colour, WOOD)


def sofa(kit: Kit) -> None:
    """Base, arms, back, seat cushions and back cushions."""
    w, d, h = kit.w, kit.d, kit.h
    arm, back = min(0.2, 0.14 * w), min(0.24, 0.28 * d)
    seat, rest = min(0.44, 0.55 * h), max(min(0.64, 0.78 * h), 0.6 * h)
    dark = scaled(kit.colour, 0.72)
    foot = min(0.08, 0.12 * h)
    for x in (0.04, w - 0.1):
        for y in (0.04, d - 0.1):
            kit.box((x, x + 0.06), (y, y + 0.06), (0, foot), rgb(0x4A2F1E), WOOD)
    kit.box((0, w), (0.02, d), (foot, 0.55 * seat), dark, FABRIC)
    kit.box((arm, w - arm), (d - 0.6 * back, d), (0.5 * seat, 0.94 * h), dark, FABRIC)
    for x in (0.0, w - arm):
        kit.box((x, x + arm), (0, d), (foot, rest - 0.05), kit.colour, FABRIC)
        kit.tube(
            (x + arm / 2, 0, rest - 0.06),
            (x + arm / 2, d, rest - 0.06),
            (arm / 2, 0.06),
            kit.colour,
            FABRIC,
            axis=1,
        )
    inner = w - 2 * arm
    count = max(1, round(inner / 0.72))
    for k in range(count):
        x0, x1 = arm + inner * k / count, arm + inner * (k + 1) / count
        kit.blob((x0, x1), (0, d - 0.5 * back), (0.45 * seat, seat + 0.03), kit.accent, FABRIC, power=7)
        kit.blob((x0, x1), (d - back - 0.04, d - 0.02), (seat - 0.03, h), kit.accent, FABRIC, power=6)


def bed(kit: Kit) -> None:
    """Frame, headboard at the back, mattress, pillows, and a blanket over the lower two thirds.

    The blanket of a low bed lies at the box's full height, as things may stand on it; a high box has a
    headboard.
    """
    w, d, h = kit.w, kit.d, kit.h
    top = h if h <= 0.72 else 0.55
    frame, wood = 0.5 * top, kit.accent
    if h > 0.3:
        legs(kit, frame, 0.08, scaled(wood, 0.8))
    kit.box((0, w), (0, d), (0.5 * frame, frame), wood, WOOD)
    kit.box((0, w), (d - 0.06, d), (0.5 * frame, h), wood, WOOD)
    kit.box(
        (0.05 * w, 0.95 * w),
        (d - 0.075, d - 0.06),
        (frame, max(frame + 0.02, h - 0.06)),
        scaled(wood, 1.2),
        WOOD,
    )
    sheet = top - min(0.09, 0.2 * top)
    kit.box((0.02, w - 0.02), (0.02, d - 0.075), (frame, sheet), WHITE, FABRIC)
    fold = 0.66 * d
    kit.box((0, w), (0, fold), (0.8 * frame, top), kit.colour, FABRIC)
    kit.box((0, w), (fold - 0.2, fold), (0.85 * frame, top), mixed(kit.colour, WHITE, 0.7), FABRIC)
    count = 2 if w > 1.15 else 1
    for k in range(count):
        x = (w * (k + 0.08) / count, w * (k + 0.92) / count)
        high = top if h <= 0.72 else top + 0.08
        kit.blob(x, (fold + 0.02, d - 0.08), (sheet - 0.03, high), rgb(0xFBFBFF), FABRIC, power=3.2)


def mattress(kit: Kit) -> None:
    """A quilted slab; one that leans keeps its box."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0.1 * h, 0.9 * h), kit.colour, FABRIC)
    kit.box((0.02, w - 0.02), (0.02, d - 0.02), (0, h), mixed(kit.colour, kit.accent, 0.15), FABRIC)
    kit.box((0, w), (0, d), (0.45 * h, 0.55 * h), kit.accent, FABRIC)


def cushion(kit: Kit) -> None:
    """A soft pillow with a stripe."""
    kit.blob((0, kit.w), (0, kit.d), (0, kit.h), kit.colour, FABRIC, power=2.8)
    kit.blob(
        (0.4 * kit.w, 0.6 * kit.w), (0, kit.d), (0, kit.h), mixed(kit.accent, CREAM, 0.3), FABRIC, power=2.6
    )


def pillow(kit: Kit) -> None:
    """A soft pillow."""
    kit.blob((0, kit.w), (0, kit.d), (0, kit.h), kit.colour, FABRIC, power=2.8)
    kit.blob((0, kit.w), (0, kit.d), (0.46 * kit.h, 0.54 * kit.h), kit.accent, MATTE, power=4)


def blanket(kit: Kit) -> None:
    """A loosely folded pile with stripes."""
    w, d, h = kit.w, kit.d, kit.h
    for k in range(3):
        low, high = h * k / 3, h * (k + 1) / 3
        shrink = 0.04 * k
        colour = kit.colour if k % 2 == 0 else kit.accent
        kit.blob(
            (shrink * w, w * (1 - shrink)),
            (shrink * d, d),
            (low, min(h, high + 0.1 * h)),
            colour,
            FABRIC,
            power=4,
        )
