"""A scene as a clip: colours, depth, item ids, camera poses and what was seen when."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from tolman.render.camera import intrinsics, rays, turned
from tolman.render.light import Hits, Shader, toned
from tolman.render.mesh import Mesh, furnish, joined
from tolman.render.placing import frames as item_frames
from tolman.render.room import plan_room, room_mesh
from tolman.render.sightings import Sightings
from tolman.render.walk import OPEN_TOPPED, STYLES, Stage, lighting_of, plan_walk
from tolman.scenes import Scene

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Film:
    """A clip of T frames of H×W pixels.

    rgb_THWC: uint8. depth_THW: float32 metres along the viewing axis, 0 where nothing was hit. ids_THW: int32
    item number in `Scene.items`, -1 for the building and nothing. poses_T44: camera to world, float64; the
    camera looks along +z, x right, y down. intrinsics_33: pixels, the middle of the first pixel is (0.5,
    0.5). fps: frames per second. sightings: pixels per item and frame, of ids_THW.
    """

    rgb_THWC: npt.NDArray[np.uint8]
    depth_THW: npt.NDArray[np.float32]
    ids_THW: npt.NDArray[np.int32]
    poses_T44: Floats
    intrinsics_33: Floats
    fps: float
    sightings: Sightings


def film(
    scene: Scene,
    seed: int,
    frames: int = 32,
    size: tuple[int, int] = (448, 448),
    style: str = "walk",
    supersample: int = 1,
    *,
    fps: float = 2.0,
    plain: bool = False,
    threads: int = 1,
) -> Film:
    """Film a scene: the same bytes for the same arguments, however many threads.

    size: (height, width) in pixels. style: one of STYLES (see walk.py). supersample: rays
    per pixel along each side for the colours; depth and ids are always those of the pixel's middle. plain:
    draw every item as its bare box. Looks (colours, materials, lights) follow the seed and the scene, not
    style or size. Raises ValueError for an unknown style and for frames, size, supersample, fps or threads
    below 1 (fps: not positive).
    """
    _check(frames, size, style, supersample, fps, threads)
    rng = np.random.default_rng([seed, zlib.crc32(scene.id.encode())])
    room = plan_room(scene, rng)
    placed = item_frames(scene, upright=not plain)
    mesh = joined(furnish(scene, placed, seed, plain), room_mesh(room, ceiling=style not in OPEN_TOPPED))
    caster = EmbreeScene()
    TriangleMesh(caster, mesh.corners)
    stage = Stage(scene, room, placed, mesh, caster)
    fov, poses = plan_walk(stage, style, frames, size, rng)
    shader = Shader(mesh, caster, lighting_of(stage, style))
    matrix = intrinsics(size, fov)
    shot = _Shot(mesh, caster, shader, matrix, size, supersample)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            pictures = list(pool.map(shot.take, poses))
    else:
        pictures = [shot.take(pose) for pose in poses]
    rgb, depth, ids = (np.stack(part) for part in zip(*pictures, strict=True))
    sightings = Sightings(count_items(ids, len(scene.items)), np.arange(frames) / fps, size[0] * size[1])
    return Film(rgb, depth, ids, poses, matrix, fps, sightings)


def _check(
    frames: int, size: tuple[int, int], style: str, supersample: int, fps: float, threads: int
) -> None:
    if style not in STYLES:
        raise ValueError(f"unknown film style {style!r}; choose one of {', '.join(STYLES)}")
    numbers = {
        "frames": frames,
        "height": size[0],
        "width": size[1],
        "supersample": supersample,
        "threads": threads,
    }
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"film {name} must be at least 1, got {value}")
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"film fps must be positive, got {fps}")


def count_items(ids_THW: npt.NDArray[np.int32], items: int) -> npt.NDArray[np.int64]:
    """Pixels per frame and item (T, items)."""
    return np.stack([np.bincount(ids.ravel() + 1, minlength=items + 1)[1:] for ids in ids_THW]).astype(
        np.int64
    )


@dataclass(frozen=True, eq=False)
class _Shot:
    """A camera with its film: everything a frame needs but its pose."""

    mesh: Mesh
    caster: EmbreeScene
    shader: Shader
    matrix: Floats
    size: tuple[int, int]
    supersample: int

    def take(
        self, pose: Floats
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """One frame: rgb (H, W, 3), depth (H, W), ids (H, W)."""
        direction = turned(rays(self.matrix, self.size), pose)
        hits = cast(self.caster, pose[:3, 3], direction)
        found = hits.triangle >= 0
        depth = np.where(found, hits.distance, np.float32(0))
        ids = np.where(found, self.mesh.item[np.maximum(hits.triangle, 0)], np.int32(-1))
        if self.supersample == 1:
            light = self.shader.colours(pose[:3, 3], direction, hits, 1 / float(self.matrix[0, 0]))
        else:
            light = self._averaged(pose)
        rgb = toned(light).reshape(3, *self.size).transpose(1, 2, 0)
        return np.ascontiguousarray(rgb), depth.reshape(self.size), ids.reshape(self.size)

    def _averaged(self, pose: Floats) -> npt.NDArray[np.float32]:
        """Light (3, n) averaged over supersample² points of each pixel and as many points of the lamps.

        Light is cut off at white before averaging: an edge against a lamp is smooth, too.
        """
        count = self.supersample
        angle = 1 / float(self.matrix[0, 0]) / count
        total = np.zeros((3, self.size[0] * self.size[1]), np.float32)
        for k in range(count):
            for m in range(count):
                shift = ((m + 0.5) / count, (k + 0.5) / count)
                direction = turned(rays(self.matrix, self.size, shift), pose)
                hits = cast(self.caster, pose[:3, 3], direction)
                lamp = (2 * shift[0] - 1, 2 * shift[1] - 1)
                light = self.shader.colours(pose[:3, 3], direction, hits, angle, lamp)
                total += np.minimum(light, np.float32(1.2))
        return total / np.float32(count * count)


def cast(caster: EmbreeScene, origin: Floats, direction: npt.NDArray[np.float32]) -> Hits:
    """First hits of rays from `origin` (3,) along `direction` (3, n)."""
    ray = np.ascontiguousarray(direction.T)
    start = np.empty_like(ray)
    start[:] = origin.astype(np.float32)
    answer = caster.run(start, ray, output=1)
    return Hits(answer["primID"], answer["u"], answer["v"], answer["tfar"])
