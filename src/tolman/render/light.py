"""From hit points to colours: two lights with shadows, ambient light with contact shade, gloss and glow."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from embreex.rtcore_scene import EmbreeScene

from tolman.render.mesh import STRUCTURE, Mesh
from tolman.render.textures import LEVELS, SIDE, atlas

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

BACKDROP = (0.035, 0.04, 0.05)
"""Linear light where a ray hits nothing."""


CHUNK = 32768
"""Hits shaded at a time: few enough for their numbers to stay in a core's cache."""


class Light(NamedTuple):
    """A lamp: position (3,), radius in metres (its shadows soften when pixels are sampled more than once),
    colour (3,) of linear light at 1 m before fall-off, reach in metres: where its light has fallen to a
    half."""

    position: Floats
    radius: float
    colour: tuple[float, float, float]
    reach: float


class Shade(NamedTuple):
    """Contact shade of the floor: image (rows along y, columns along x) of factors in [0, 1], the lower
    corner (2,) of its first cell and cells per metre."""

    image: Float32
    corner: tuple[float, float]
    per_metre: float


class Lighting(NamedTuple):
    """Everything that lights a scene. low, high: z of floor and ceiling; ambient: strength of the even
    light."""

    lights: tuple[Light, ...]
    shade: Shade
    low: float
    high: float
    ambient: float


class Hits(NamedTuple):
    """What rays hit: triangle numbers (n,) (-1: nothing), barycentric u and v (n,), distance along the ray
    (n,)."""

    triangle: npt.NDArray[np.int32]
    u: Float32
    v: Float32
    distance: Float32


@cache
def _tone_table() -> npt.NDArray[np.uint8]:
    """Linear light in steps of 1/2048 up to 4 to 8-bit values: a soft shoulder over a power of 1/2.2."""
    x = np.arange(8192) / 2048
    shouldered = np.where(x < 0.6, x, 0.6 + 0.4 * (1 - np.exp(-(x - 0.6) / 0.4)))
    return np.asarray(np.clip(np.rint(255 * shouldered ** (1 / 2.2)), 0, 255), dtype=np.uint8)


def toned(light: Float32) -> npt.NDArray[np.uint8]:
    """8-bit colours of linear light of any shape."""
    index = np.minimum(light * np.float32(2048), np.float32(8191)).astype(np.int32)
    return np.asarray(_tone_table()[index])


def _texture(
    mesh: Mesh, scaled: Float32, hit: npt.NDArray[np.int32], point: Float32, depth: Float32, angle: float
) -> Float32:
    """Factors (n,) of the surfaces' patterns; coarser where a pixel (`angle` radians wide) covers more.

    scaled (6, triangles): texture axes u, then v, in texels per metre.
    """
    book = atlas()
    texture = mesh.texture[hit]
    scale = book.per_metre[texture]
    across = point[0] * scaled[0][hit] + point[1] * scaled[1][hit] + point[2] * scaled[2][hit]
    down = point[0] * scaled[3][hit] + point[1] * scaled[4][hit] + point[2] * scaled[5][hit]
    # the exponent of a float is the whole part of its logarithm to the base 2
    covered = np.maximum(depth * scale * np.float32(1.5 * angle), np.float32(1.0))
    level = np.minimum((covered.view(np.int32) >> 23) - 127, LEVELS - 1)
    side = np.right_shift(SIDE, level)
    column = np.right_shift(np.floor(across).astype(np.int32) & (SIDE - 1), level)
    row = np.right_shift(np.floor(down).astype(np.int32) & (SIDE - 1), level)
    start = book.starts[level] + texture * side * side
    return np.asarray(book.texels[start + row * side + column])


def _normals(mesh: Mesh, hits: Hits, hit: npt.NDArray[np.int32], direction: Float32) -> Float32:
    """Unit normals (3, n) that face the viewer, bent on round triangles."""
    normal = np.stack([mesh.normal[k][hit] for k in range(3)])
    bent = np.flatnonzero(mesh.is_round[hit])
    if len(bent):
        triangle = hit[bent]
        u, v, bend = hits.u[bent], hits.v[bent], mesh.bend[:, triangle]
        some = normal[:, bent] + u * bend[:3] + v * bend[3:]
        some /= np.maximum(np.sqrt(some[0] ** 2 + some[1] ** 2 + some[2] ** 2), np.float32(1e-6))
        normal[:, bent] = some
    away = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2] > 0
    normal *= np.where(away, np.float32(-1), np.float32(1))
    return normal


def _ambient(
    mesh: Mesh, hit: npt.NDArray[np.int32], point: Float32, normal: Float32, light: Lighting
) -> Float32:
    """Even light (n,): more from above, less in corners, next to the floor and under furniture."""
    above = point[2] - np.float32(light.low)
    under = np.float32(light.high) - point[2]
    sky = np.float32(0.86) + np.float32(0.14) * np.maximum(normal[2], np.float32(-0.2))
    corner = np.float32(0.72) + np.float32(0.28) * np.minimum(np.maximum(above, 0) * np.float32(2.2), 1)
    corner *= np.float32(0.88) + np.float32(0.12) * np.minimum(np.maximum(under, 0) * np.float32(3.0), 1)
    flat = np.flatnonzero((above < 0.01) & (mesh.item[hit] == STRUCTURE))
    if len(flat):
        shade = light.shade
        x = ((point[0, flat] - shade.corner[0]) * shade.per_metre).astype(np.int32)
        y = ((point[1, flat] - shade.corner[1]) * shade.per_metre).astype(np.int32)
        rows, columns = shade.image.shape
        corner[flat] = shade.image[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
    return np.asarray(sky * corner * np.float32(light.ambient))


class _Surface(NamedTuple):
    """What is lit: points, unit normals and viewing directions (3, n), gloss (n,)."""

    point: Float32
    normal: Float32
    direction: Float32
    gloss: Float32


def _dot(a: list[Float32], b: list[Float32]) -> Float32:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


class Shader:
    """Colours of hits in one scene; safe to use from several threads."""

    def __init__(self, mesh: Mesh, caster: EmbreeScene, lighting: Lighting) -> None:
        self.mesh, self.caster, self.lighting = mesh, caster, lighting
        per_metre = atlas().per_metre[mesh.texture]
        self.scaled = np.concatenate([mesh.axis_u, mesh.axis_v]) * per_metre

    def colours(
        self,
        origin: Floats,
        direction: Float32,
        hits: Hits,
        angle: float,
        sample: tuple[float, float] = (0.0, 0.0),
    ) -> Float32:
        """Linear light (3, n) along rays from `origin` (3,) with `direction` (3, n). angle: radians across a
        pixel. sample: where on the lamps, in [-1, 1]², shadows are cast from."""
        out = np.empty((3, len(hits.triangle)), np.float32)
        out[:] = np.array(BACKDROP, np.float32)[:, None]
        seen, start = np.flatnonzero(hits.triangle >= 0), origin.astype(np.float32)
        for first in range(0, len(seen), CHUNK):
            part = seen[first : first + CHUNK]
            some = Hits(hits.triangle[part], hits.u[part], hits.v[part], hits.distance[part])
            out[:, part] = self._shaded(start, direction[:, part], some, angle, sample)
        return out

    def _shaded(
        self, origin: Float32, direction: Float32, hits: Hits, angle: float, sample: tuple[float, float]
    ) -> Float32:
        mesh, hit = self.mesh, hits.triangle
        point = origin[:, None] + hits.distance * direction
        normal = _normals(mesh, hits, hit, direction)
        even = _ambient(mesh, hit, point, normal, self.lighting)
        even += np.float32(0.9) * mesh.glow[hit]
        total = [even * np.float32(tint) for tint in (0.98, 1.0, 1.03)]
        surface = _Surface(point, normal, direction, mesh.gloss[hit])
        shine = np.zeros_like(even)
        for light in self.lighting.lights:
            reached, strength = self._lit(light, surface, sample, shine)
            for channel, tint in enumerate(light.colour):
                total[channel][reached] += strength * np.float32(tint)
        pattern = _texture(mesh, self.scaled, hit, point, hits.distance, angle)
        return np.stack([mesh.colour[k][hit] * pattern * total[k] + shine for k in range(3)])

    def _lit(
        self, light: Light, surface: _Surface, sample: tuple[float, float], shine: Float32
    ) -> tuple[npt.NDArray[np.int64], Float32]:
        """Which points a lamp reaches and how strongly; adds its highlights to `shine` (n,)."""
        point, normal = surface.point, surface.normal
        lamp = (light.position + light.radius * np.array([*sample, 0.0])).astype(np.float32)
        to = [lamp[k] - point[k] for k in range(3)]
        facing = np.flatnonzero(to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2] > 0)
        start = np.empty((len(facing), 3), np.float32)
        for k in range(3):
            start[:, k] = point[k][facing] + np.float32(2e-3) * normal[k][facing]
        far = np.full(len(facing), 0.999, np.float32)
        open_ = self.caster.run(start, lamp - start, far, query="OCCLUDED") < 0
        facing = facing[open_]
        way = [lamp[k] - start[:, k][open_] for k in range(3)]
        bent = [normal[k][facing] for k in range(3)]
        square = _dot(way, way)
        cosine = np.maximum(_dot(way, bent), 0) / np.sqrt(square)
        half = np.float32(light.reach**2)
        strength = cosine * half / (half + square)
        self._shine(surface, facing, way, bent, square, shine)
        return facing, strength

    @staticmethod
    def _shine(
        surface: _Surface,
        facing: npt.NDArray[np.int64],
        way: list[Float32],
        bent: list[Float32],
        square: Float32,
        shine: Float32,
    ) -> None:
        """Add highlights on glossy points: the half-way vector's cosine to the 32nd power."""
        gloss = surface.gloss[facing]
        some = np.flatnonzero(gloss > 0)
        if len(some) == 0:
            return
        at = facing[some]
        inverse = 1 / np.sqrt(square[some])
        view = [surface.direction[k][at] for k in range(3)]
        back = 1 / np.sqrt(_dot(view, view))
        middle = [way[k][some] * inverse - view[k] * back for k in range(3)]
        up = np.maximum(_dot(middle, [bent[k][some] for k in range(3)]), 0)
        sharp = up * up / np.maximum(_dot(middle, middle), np.float32(1e-6))  # cosine squared
        for _ in range(4):
            sharp *= sharp
        shine[at] += gloss[some] * sharp * np.float32(0.55)
