"""Where to look along a path, so that every item stays in view for some frames.

Headings are a shortest-path problem: at each frame one of a ring of headings times a few pitches, turning
from one frame to the next only so far, earning what each item in view is worth. Then the problem is solved
again with other worths: an item seen often enough counts only in the frames that see it best, so that the
rest are free; one seen too rarely counts everywhere, and more with every round. The best round wins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from embreex.rtcore_scene import EmbreeScene

from tolman.render.placing import Frame

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HEADINGS = 24
ROUNDS = 14
WANTED = 3
"""Frames in which an item should be seen."""
LEAST = 0.0012
"""Share of the picture below which an item does not count as seen."""

_SPOTS = np.array(
    [
        (0.5, 0.5, 0.5), (0.5, 0.5, 1.0), (0.1, 0.1, 0.9), (0.9, 0.1, 0.9), (0.1, 0.9, 0.9),
        (0.9, 0.9, 0.9), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5), (1.0, 0.5, 0.5), (0.5, 1.0, 0.5),
    ]
)  # fmt: skip
"""Points in the unit box that stand for an item."""


class Views(NamedTuple):
    """What could be seen from P places. toward (P, I, S, 3): vectors to the spots of each item; open (P, I,
    S): True where nothing stands before the spot; apparent (P, I): the item's solid angle, roughly, in
    steradians."""

    toward: Floats
    open: Bools
    apparent: Floats


def spots(frames: list[Frame]) -> Floats:
    """(I, S, 3) points on the items' boxes."""
    return np.array([f.origin + (_SPOTS * f.size) @ f.axes for f in frames]).reshape(
        len(frames), len(_SPOTS), 3
    )


def look_from(
    places: Floats, frames: list[Frame], caster: EmbreeScene, owner: npt.NDArray[np.int32]
) -> Views:
    """What the items' spots look like from places (P, 3). owner: item number of each triangle of the
    caster."""
    points = spots(frames)
    toward = points[None] - places[:, None, None]
    shape = toward.shape[:3]
    direction = toward.reshape(-1, 3).astype(np.float32)
    start = np.repeat(places, shape[1] * shape[2], axis=0).astype(np.float32)
    answer = caster.run(start, direction, output=1)
    triangle, distance = answer["primID"].reshape(shape), answer["tfar"].reshape(shape)
    mine = np.where(triangle >= 0, owner[np.maximum(triangle, 0)], -1) == np.arange(shape[1])[None, :, None]
    # a spot in the air within the item's box (above a chair's seat, say) is open, too, if nothing hides it
    open_ = mine | (distance >= 1)
    size = np.array([f.size for f in frames]).reshape(-1, 3)
    face = np.stack([size[:, 1] * size[:, 2], size[:, 0] * size[:, 2], size[:, 0] * size[:, 1]], axis=1)
    middle = toward[:, :, 0]
    square = np.maximum((middle**2).sum(axis=2), 0.04)
    axes = np.array([f.axes for f in frames]).reshape(-1, 3, 3)
    turned = np.abs(np.einsum("pix,ikx->pik", middle, axes)) / np.sqrt(square)[..., None]
    apparent = np.einsum("pik,ik->pi", turned, face) / square
    return Views(toward, np.asarray(open_), apparent)


class Lens(NamedTuple):
    """Half the picture's width and height as tangents."""

    across: float
    down: float


def in_view(views: Views, lens: Lens, headings: Floats, pitches: Floats) -> Floats:
    """(P, states, I) rough share of the picture that each item takes up; states run over headings, then
    pitches."""
    parts = []
    area = 4 * lens.across * lens.down
    for pitch in pitches:
        c, s = np.cos(headings) * np.cos(pitch), np.sin(headings) * np.cos(pitch)
        x, y, z = np.moveaxis(views.toward[:, None], -1, 0)
        depth = c[:, None, None] * x + s[:, None, None] * y + np.sin(pitch) * z
        right = np.sin(headings)[:, None, None] * x - np.cos(headings)[:, None, None] * y
        up = np.cos(pitch) * z - np.sin(pitch) * (
            np.cos(headings)[:, None, None] * x + np.sin(headings)[:, None, None] * y
        )
        inside = (depth > 0.05) & (np.abs(right) < lens.across * depth) & (np.abs(up) < lens.down * depth)
        parts.append((inside & views.open[:, None]).mean(axis=-1) * (views.apparent / area)[:, None])
    out = np.stack(parts, axis=2)  # (P, headings, pitches, I)
    return np.asarray(out.reshape(out.shape[0], -1, out.shape[-1]))


def _turns(headings: int, pitches: int, most: int) -> Floats:
    """(states, states) cost of turning from one state to another; infinite where it is further than `most`
    steps."""
    h = np.arange(headings)
    step = np.abs(h[:, None] - h[None])
    step = np.minimum(step, headings - step)
    cost = np.where(step <= most, 0.004 * step**2, np.inf)
    p = np.abs(np.arange(pitches)[:, None] - np.arange(pitches)[None])
    tilt = np.where(p <= 1, 0.02 * p, np.inf)
    return (cost[:, None, :, None] + tilt[None, :, None, :]).reshape(headings * pitches, -1)


def _best_path(gain: Floats, turns: Floats, start: int) -> npt.NDArray[np.int64]:
    """States (T,) of largest total gain (T, states) less turning, beginning at `start`."""
    frames, states = gain.shape
    value = np.full(states, -np.inf)
    value[start] = gain[0, start]
    back = np.zeros((frames, states), np.int64)
    for t in range(1, frames):
        reach = value[:, None] - turns
        back[t] = reach.argmax(axis=0)
        value = reach[back[t], np.arange(states)] + gain[t]
    path = np.empty(frames, np.int64)
    path[-1] = value.argmax()
    for t in range(frames - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path


class _Sight:
    """What a path of states is worth, and what each item should be worth in each frame to better it.

    clear (T, states, I): how well an item is seen, 0 to 1. Each item asks to be seen in `wanted` frames.
    """

    def __init__(self, clear: Floats) -> None:
        self.clear, self.at = clear, np.arange(len(clear))
        self.wanted = min(WANTED, len(clear))
        # no more is asked of an item than it can give: something small and far is seen badly from everywhere
        self.asked = np.minimum(0.5, 0.7 * np.sort(clear.max(axis=1), axis=0)[-self.wanted])

    def got(self, path: npt.NDArray[np.int64]) -> Floats:
        """(T, I) how well each item is seen in each frame."""
        return np.asarray(self.clear[self.at, path])

    def best_frames(self, path: npt.NDArray[np.int64]) -> Floats:
        """(wanted, I) the largest of `got`, falling."""
        return np.asarray(np.sort(self.got(path), axis=0)[::-1][: self.wanted])

    def score(self, path: npt.NDArray[np.int64]) -> float:
        """Items seen often enough count most, then how well they are seen."""
        best = self.best_frames(path)
        enough = np.minimum(best / np.maximum(self.asked, 1e-6), 1.0) * (self.asked > 0)
        return float(enough.sum() + 0.02 * best.sum())

    def worths(self, path: npt.NDArray[np.int64], eager: Floats) -> Floats:
        """(T, I): an item seen often enough is worth something in its best frames only (of equally good ones
        those that see most else, so that few frames hold what is seen already); another one `eager`
        everywhere."""
        got = self.got(path)
        order = np.argsort(-(got + 0.01 * got.mean(axis=1, keepdims=True)), axis=0, kind="stable")[
            : self.wanted
        ]
        out = np.where(self.best_frames(path)[-1] >= self.asked, 0.02, eager) * np.ones((len(got), 1))
        np.put_along_axis(out, order, np.maximum(np.take_along_axis(out, order, axis=0), 1.0), axis=0)
        return np.asarray(out)


def _sweeps(frames: int, pitches: int, most: int) -> list[npt.NDArray[np.int64]]:
    """Paths of states that turn evenly by a half, three quarters of or a whole turn to either side."""
    out = []
    for share in (0.5, 0.75, 1.0):
        total = min(share * HEADINGS, most * (frames - 1))
        for side in (1, -1):
            step = np.rint(side * total * np.linspace(0, 1, frames)).astype(np.int64) % HEADINGS
            out += [step * pitches + pitch for pitch in range(pitches)]
    return out


def plan_gaze(views: Views, lens: Lens, pitches: Floats, frames_per_turn: float) -> tuple[Floats, Floats]:
    """Headings and pitches (T,) in radians for places in order; the first looks towards +y.

    frames_per_turn: frames that a whole turn takes at least.
    """
    headings = np.asarray(np.pi / 2 + np.arange(HEADINGS) * (2 * np.pi / HEADINGS), dtype=np.float64)
    share = in_view(views, lens, headings, pitches)
    frames, _, items = share.shape
    start = (len(pitches) - 1) // 2  # heading number 0 is +y
    most = max(1, min(HEADINGS // 2, round(HEADINGS / frames_per_turn)))
    turns = _turns(HEADINGS, len(pitches), most)
    sight = _Sight(np.minimum(share / (4 * LEAST), 1.0))
    best = max(_sweeps(frames, len(pitches), most), key=sight.score)
    best_score, eager = sight.score(best), np.ones(items)
    for _ in range(ROUNDS):
        lacking = sight.best_frames(best)[-1] < sight.asked
        gain = (sight.clear @ sight.worths(best, eager)[:, :, None])[..., 0]
        path = _best_path(gain, turns, start)
        score = sight.score(path)
        if score > best_score + 1e-9:
            best, best_score = path, score
        else:
            eager = np.where(lacking, np.minimum(1.6 * eager, 30.0), eager)
        if not lacking.any():
            break
    heading = np.unwrap(headings[best // len(pitches)])
    return heading, pitches[best % len(pitches)]


def softened(angles: Floats) -> Floats:
    """Angles (T,) averaged with their neighbours (1 2 1), the first kept."""
    if len(angles) < 3:
        return angles
    padded = np.concatenate([angles[:1], angles, angles[-1:]])
    soft = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    soft[0] = angles[0]
    return np.asarray(soft)
