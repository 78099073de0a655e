"""Screens, computers, lamps and other electric things."""

from __future__ import annotations

from tolman.render.palette import BLACK, DARK, GREY, STEEL, WHITE, mixed, rgb, scaled
from tolman.render.parts import FABRIC, GLOSSY, GLOW, MATTE, SCREEN, Kit


def tv(kit: Kit) -> None:
    """A wide dark screen in a thin frame; on feet where the box is deep enough."""
    w, d, h = kit.w, kit.d, kit.h
    foot = 0.08 * h if d > 0.12 else 0.0
    back = min(d, 0.06) if foot else d
    y0 = (d - back) / 2
    if foot:
        kit.box((0.2 * w, 0.8 * w), (0, d), (0, 0.015), DARK, GLOSSY)
        kit.box((0.45 * w, 0.55 * w), (y0, y0 + back), (0.015, foot), DARK, GLOSSY)
    kit.box((0, w), (y0 + 0.15 * back, y0 + back), (foot, h), kit.colour, GLOSSY)
    edge = 0.035 * h
    kit.box((edge, w - edge), (y0, y0 + 0.15 * back), (foot + edge, h - edge), kit.accent, SCREEN)


def monitor(kit: Kit) -> None:
    """A lit screen on a neck and a round foot."""
    w, d, h = kit.w, kit.d, kit.h
    low = 0.26 * h
    thick = min(0.05, d)
    y0 = max(0.004, min(0.4 * d, d - thick))
    thick = min(thick, d - y0)
    foot = min(0.02, 0.1 * h)
    kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, foot), (0.24 * w, d / 2), DARK, GLOSSY)
    kit.box((0.46 * w, 0.54 * w), (y0 + 0.5 * thick, y0 + thick), (foot, 0.5 * h), DARK, GLOSSY)
    kit.box((0, w), (y0 + 0.2 * thick, y0 + 0.8 * thick), (low, h), kit.colour, GLOSSY)
    edge = 0.03 * h
    kit.box((edge, w - edge), (y0, y0 + 0.2 * thick), (low + edge, h - edge), kit.accent, SCREEN)
    kit.box((0.1 * w, 0.55 * w), (y0 - 0.002, y0), (0.75 * h, 0.83 * h), WHITE, SCREEN)
    for k in range(3):
        z = (0.42 + 0.08 * k) * h
        kit.box(
            (0.1 * w, (0.6 + 0.1 * k) * w),
            (y0 - 0.002, y0),
            (z, z + 0.03 * h),
            scaled(kit.accent, 0.6),
            SCREEN,
        )


def laptop(kit: Kit) -> None:
    """A keyboard half and a screen leaning back; a closed one where the box is flat."""
    w, d, h = kit.w, kit.d, kit.h
    base = min(0.02, 0.4 * h)
    if h < 0.06:
        kit.box((0, w), (0, d), (0, h), kit.colour, GLOSSY)
        kit.box((0.44 * w, 0.56 * w), (0.44 * d, 0.56 * d), (h - 0.001, h), WHITE, GLOW)
        return
    front = 0.75 * d
    kit.box((0, w), (0, front), (0, base), kit.colour, GLOSSY)
    kit.box((0.06 * w, 0.94 * w), (0.35 * front, 0.92 * front), (base, base + 0.004), DARK)
    thick = 0.012
    kit.box((0, w), (front, front + thick), (base, h), kit.colour, GLOSSY, top=(0, w, d - thick, d))
    kit.box(
        (0.04 * w, 0.96 * w),
        (front - 0.004, front),
        (base + 0.01, h - 0.012),
        kit.accent,
        SCREEN,
        top=(0.04 * w, 0.96 * w, d - thick - 0.006, d - thick - 0.002),
    )


def keyboard(kit: Kit) -> None:
    """Rows of light keys on a dark board."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, 0.7 * h), kit.colour)
    for k in range(4):
        y0 = d * (0.06 + 0.23 * k)
        count = 10 if k else 1
        for i in range(count):
            x0, x1 = (0.03 + 0.94 * i / 10, 0.03 + 0.94 * (i + 0.8) / 10) if k else (0.28, 0.7)
            kit.box((x0 * w, x1 * w), (y0, y0 + 0.18 * d), (0.7 * h, h), kit.accent)


def computer_mouse(kit: Kit) -> None:
    """A small rounded body with a wheel."""
    w, d, h = kit.w, kit.d, kit.h
    kit.blob((0, w), (0, d), (0, 0.96 * h), kit.colour, GLOSSY, power=2.6)
    kit.box((0.44 * w, 0.56 * w), (0.15 * d, 0.4 * d), (0.6 * h, h), kit.accent, GLOW)


def computer_tower(kit: Kit) -> None:
    """A dark case with a lit button, vents and a drive."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.02, d), (0, h), kit.colour, GLOSSY)
    kit.box((0.06 * w, 0.94 * w), (0.008, 0.02), (0.03 * h, 0.97 * h), scaled(kit.colour, 1.8), GLOSSY)
    for k in range(2):
        z = (0.76 + 0.1 * k) * h
        kit.box((0.14 * w, 0.86 * w), (0.002, 0.008), (z, z + 0.06 * h), STEEL, GLOSSY)
    kit.tube((0.5 * w, 0, 0.62 * h), (0.5 * w, 0.008, 0.62 * h), 0.1 * w, kit.accent, GLOW, axis=1)
    for k in range(5):
        z = (0.1 + 0.07 * k) * h
        kit.box((0.2 * w, 0.8 * w), (0.002, 0.008), (z, z + 0.025 * h), BLACK)


def printer(kit: Kit) -> None:
    """A pale body, a dark tray slot with paper, a panel on top."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0.1 * d, d), (0, 0.85 * h), kit.colour)
    kit.box((0.05 * w, 0.95 * w), (0.25 * d, d), (0.85 * h, h), kit.accent)
    kit.box((0.1 * w, 0.9 * w), (0.09 * d, 0.1 * d), (0.4 * h, 0.6 * h), BLACK)
    kit.box((0.2 * w, 0.8 * w), (0, 0.4 * d), (0.4 * h, 0.42 * h), WHITE, GLOW)
    kit.box((0.65 * w, 0.9 * w), (0.11 * d, 0.24 * d), (0.85 * h, 0.88 * h), rgb(0x3FA7D6), GLOW)


def telephone(kit: Kit) -> None:
    """A sloped body with keys and a red receiver."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, 0.35 * h), kit.colour, top=(0, w, 0.2 * d, d))
    kit.blob((0, 0.34 * w), (0.1 * d, d), (0.3 * h, h), kit.accent, GLOSSY, power=4)
    for i in range(3):
        for k in range(3):
            x, y = (0.45 + 0.17 * i) * w, (0.3 + 0.2 * k) * d
            kit.box((x, x + 0.11 * w), (y, y + 0.12 * d), (0.35 * h, 0.5 * h), WHITE)


def headphones(kit: Kit) -> None:
    """Two cups under a band."""
    w, d, h = kit.w, kit.d, kit.h
    for x in (0.0, 0.72 * w):
        kit.blob((x, x + 0.28 * w), (0, d), (0, 0.6 * h), kit.accent, FABRIC, power=3)
        kit.box((x + 0.1 * w, x + 0.18 * w), (0.4 * d, 0.6 * d), (0.4 * h, 0.92 * h), kit.colour)
    kit.box((0.1 * w, 0.9 * w), (0.35 * d, 0.65 * d), (0.88 * h, h), kit.colour)


def power_strip(kit: Kit) -> None:
    """A white bar with sockets and a red switch, along its longer side."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0, 0.9 * h), kit.colour)
    along = w >= d
    for k in range(5):
        a = (k + 0.2) / 5
        span = (a, a + 0.6 / 5)
        x, y = (span, (0.25, 0.75)) if along else ((0.25, 0.75), span)
        colour = kit.accent if k == 0 else DARK
        kit.box((x[0] * w, x[1] * w), (y[0] * d, y[1] * d), (0.9 * h, h), colour, GLOW if k == 0 else MATTE)


def lamp(kit: Kit) -> None:
    """A lit shade: on a stand where it is tall, on a short foot where it is not."""
    w, d, h = kit.w, kit.d, kit.h
    cx, cy = w / 2, d / 2
    shade = h - min(0.35, 0.42 * h)
    foot = min(0.03, 0.08 * h)
    kit.tube((cx, cy, 0), (cx, cy, foot), (0.34 * w, 0.34 * d), kit.accent, GLOSSY)
    kit.tube((cx, cy, foot), (cx, cy, shade + 0.02), min(0.018, 0.1 * w), kit.accent, GLOSSY)
    if h < 0.8:
        kit.blob((0.26 * w, 0.74 * w), (0.26 * d, 0.74 * d), (foot, 0.45 * h), kit.accent, GLOSSY)
    kit.tube((cx, cy, shade), (cx, cy, h), (w / 2, d / 2), kit.colour, GLOW, (0.3 * w, 0.3 * d))


def ceiling_light(kit: Kit) -> None:
    """A bright panel under a white housing."""
    w, d, h = kit.w, kit.d, kit.h
    kit.box((0, w), (0, d), (0.6 * h, h), kit.accent)
    if max(w, d) > 1.5 * min(w, d):
        kit.box((0.02 * w, 0.98 * w), (0.08 * d, 0.92 * d), (0, 0.6 * h), kit.colour, GLOW)
    else:
        kit.tube(
            (w / 2, d / 2, 0),
            (w / 2, d / 2, 0.6 * h),
            (0.4 * w, 0.4 * d),
            kit.colour,
            GLOW,
            (0.5 * w, 0.5 * d),
        )


def fan(kit: Kit) -> None:
    """A round cage with blades on a stand."""
    w, d, h = kit.w, kit.d, kit.h
    r = min(w / 2, 0.3 * h)
    z = h - r
    kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, 0.04), (0.4 * w, 0.45 * d), kit.accent)
    kit.tube((w / 2, 0.6 * d, 0.04), (w / 2, 0.6 * d, z), 0.02, kit.accent, GLOSSY)
    kit.tube((w / 2, 0.15 * d, z), (w / 2, 0.4 * d, z), r, kit.accent, axis=1)
    kit.tube((w / 2, 0.1 * d, z), (w / 2, 0.15 * d, z), 0.88 * r, kit.colour, axis=1)
    for sx, sz in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
        x = (w / 2, w / 2 + sx * 0.55 * r)
        zz = (z, z + sz * 0.55 * r)
        kit.box((min(x), max(x)), (0.05 * d, 0.1 * d), (min(zz), max(zz)), mixed(kit.colour, WHITE, 0.5))
    kit.tube((w / 2, 0, z), (w / 2, 0.1 * d, z), 0.16 * r, DARK, axis=1)


def exhaust_fan(kit: Kit) -> None:
    """A square grille with a dark round opening."""
    w, d, h = kit.w, kit.d, kit.h
    flat = min(kit.w, kit.d, kit.h)
    if flat == h:
        kit.box((0, w), (0, d), (0.2 * h, h), kit.colour)
        kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, 0.2 * h), (0.42 * w, 0.42 * d), kit.accent)
        kit.tube((w / 2, d / 2, 0), (w / 2, d / 2, 0.2 * h), (0.12 * w, 0.12 * d), kit.colour)
        return
    kit.box((0, w), (0.2 * d, d), (0, h), kit.colour)
    for k in range(5):
        z = h * (0.1 + 0.17 * k)
        kit.box((0.08 * w, 0.92 * w), (0, 0.2 * d), (z, z + 0.08 * h), kit.accent if k % 2 else GREY)
