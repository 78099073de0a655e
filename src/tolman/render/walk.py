"""Camera walks: the whole room from above, from overhead, raised under the ceiling, at eye level.

Every walk starts near the room's -y side looking towards +y. "survey": high above the open-topped room, all
of it in every picture, +y up, rising from the -y side, so that things show some of their sides. "overhead":
above the open-topped room, looking down with +y up, the view about half the room's longer side, gliding to
and fro over the floor; the tilt towards +y is at most 12°. "raised": 2.2 to 2.5 m up, looking down 32 to
45°. "walk": 1.45 to 1.6 m up, looking down 6 to 26°. The latter two walk over free floor between viewpoints
that together see the items, and turn the head so that every item stays in view for some frames (see
gaze.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from embreex.rtcore_scene import EmbreeScene

from tolman.render import gaze, occupancy, route
from tolman.render.camera import pose
from tolman.render.light import Light, Lighting
from tolman.render.mesh import Mesh
from tolman.render.placing import Frame
from tolman.render.room import Room
from tolman.scenes import Scene

Floats = npt.NDArray[np.float64]

STYLES = ("survey", "overhead", "raised", "walk")
OPEN_TOPPED = ("survey", "overhead")
"""Styles that look into the room from above, so that it is built without its ceiling."""


class Stage(NamedTuple):
    """A scene made ready for filming."""

    scene: Scene
    room: Room
    frames: list[Frame]
    mesh: Mesh
    caster: EmbreeScene


def plan_walk(
    stage: Stage, style: str, frames: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, Floats]:
    """The field of view of the shorter side in radians and the poses (frames, 4, 4), camera to world."""
    if style == "survey":
        return survey(stage.room, frames, size, rng)
    if style == "overhead":
        return overhead(stage.room, frames, size, rng)
    room = stage.room
    raised = style == "raised"
    reach = min(float(rng.uniform(2.2, 2.5)), room.height - 0.12) if raised else float(rng.uniform(1.45, 1.6))
    z = room.low + min(reach, 0.9 * room.height)
    fov = np.deg2rad(72 if raised else 68)
    pitches = np.deg2rad([-32, -38, -45] if raised else [-6, -15, -26])
    grid = occupancy.grid_of(room)
    band = (z - 0.25, z + 0.15) if raised else (room.low + 0.05, z + 0.15)
    floor = route.free_floor(grid, occupancy.blocked(grid, stage.frames, *band))
    start = route.start_cell(floor)[None]
    if not stage.frames:
        positions = route.walk_route(floor, z, frames, None, start, rng)
        return float(fov), np.stack([pose(p, np.pi / 2, pitches[1]) for p in positions])
    points = np.concatenate([start, route.viewpoints(floor, 24, rng)])
    middles = grid.middles()[points[:, 0], points[:, 1]]
    places = np.column_stack([middles, np.full(len(middles), z)])
    look = gaze.look_from(places, stage.frames, stage.caster, stage.mesh.item)
    positions = route.walk_route(floor, z, frames, look, points, rng)
    half = float(np.tan(fov / 2))
    lens = gaze.Lens(half * size[1] / min(size), half * size[0] / min(size))
    views = gaze.look_from(positions, stage.frames, stage.caster, stage.mesh.item)
    heading, pitch = gaze.plan_gaze(views, lens, pitches, max(6.0, 0.5 * frames))
    heading, pitch = (gaze.softened(angle) for angle in (heading, pitch))
    return float(fov), np.stack([pose(*at) for at in zip(positions, heading, pitch, strict=True)])


def overhead(
    room: Room, frames: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, Floats]:
    """Field of view and poses of a glide to and fro from the room's -y side to its +y side."""
    low, high = room.bounds
    span = high - low
    height = max(room.height + 1.6, 4.2)
    # fewer frames see more each, so that everything stays in view for two or more of them
    extent = (0.55 + 0.15 * min(1.0, max(0.0, (24 - frames) / 14))) * float(span.max())
    tilt = np.deg2rad(rng.uniform(0, 12))
    aspect = np.array([size[1], size[0]]) / min(size)
    view = np.minimum(extent * aspect, span + 0.4)
    # what hangs on walls comes into view where the picture's edge meets the wall 1.8 m up
    view = view * (1 - 1.8 / height)
    # rows of the glide overlap by a third; the view's edge follows the walls
    room_left = span - view
    rows = max(1, int(np.ceil(room_left[1] / (0.67 * view[1]))) + 1)
    start, end = low + view / 2, high - view / 2
    ys = np.linspace(start[1], end[1], rows) if rows > 1 else np.array([(low[1] + high[1]) / 2])
    sides = (start[0], end[0]) if rng.random() < 0.5 else (end[0], start[0])
    corners = []
    for k, y in enumerate(ys):
        a, b = sides if k % 2 == 0 else sides[::-1]
        corners += [(a, y), (b, y)]
    path = route.along(np.array(corners, dtype=np.float64), frames)
    fov = 2 * np.arctan(extent / 2 / height)
    back = np.array([0.0, -height * np.tan(tilt), height + room.low])
    poses = [pose(np.array([x, y, 0]) + back, np.pi / 2, tilt - np.pi / 2) for x, y in path]
    return float(fov), np.stack(poses)


def survey(room: Room, frames: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[float, Floats]:
    """Field of view and poses of a rise from the room's -y side to above its middle, always aimed at it."""
    low, high = room.bounds
    middle, span = (low + high) / 2, high - low
    aspect = np.array([size[1], size[0]]) / min(size)
    extent = 1.12 * float((span / aspect).max())  # of the floor, along the picture's shorter side
    fov = np.deg2rad(50.0)
    height = extent / 2 / np.tan(fov / 2)
    tilts = np.deg2rad(np.linspace(rng.uniform(10, 14), 0, frames))
    aside = 0.04 * span[0] * rng.uniform(-1, 1) * np.linspace(-1, 1, frames)
    poses = [
        pose(
            np.array([middle[0] + x, middle[1] - height * np.tan(tilt), room.low + height]),
            np.pi / 2,
            tilt - np.pi / 2,
        )
        for x, tilt in zip(aside, tilts, strict=True)
    ]
    return float(fov), np.stack(poses)


def lighting_of(stage: Stage, style: str) -> Lighting:
    """Two lamps: under the ceiling, clear of walls and of what hangs there, or, for the view from overhead,
    above the open room."""
    room = stage.room
    low, high = room.bounds
    middle, span = (low + high) / 2, high - low
    shade = occupancy.floor_shade(room, stage.frames)
    if style in OPEN_TOPPED:
        z = room.high + 1.5
        places = middle + span * np.array([[-0.28, -0.22], [0.34, 0.3]])
    else:
        z = room.high - 0.15
        grid = occupancy.grid_of(room)
        clear = occupancy.clearance(~occupancy.blocked(grid, stage.frames, z - 0.1, z + 0.1), grid.cell)
        cells = grid.middles()[clear >= min(0.5, 0.8 * float(clear.max()))]
        wanted = middle + span * np.array([[-0.2, -0.15], [0.26, 0.22]])
        places = np.stack([cells[((cells - place) ** 2).sum(axis=1).argmin()] for place in wanted])
    reach = 2.0 + 0.5 * float(span.max())
    warm = Light(np.array([*places[0], z]), 0.22, (0.62, 0.58, 0.51), reach)
    cool = Light(np.array([*places[1], z]), 0.22, (0.36, 0.38, 0.41), reach)
    return Lighting((warm, cool), shade, room.low, room.high, 0.42)
