"""How fast scenes become clips on one core: frames and rays per second, and where the time goes.

    python perf/film.py [--json FILE] [--rooms N]

Times are processor seconds of this process, so that other work on the machine weighs less. The share of
Embree is that of its calls alone; shading is everything else that turns hits into colours; the rest is mesh,
path and copies. The last lines are a shadowed clip of 32 frames with its encoding, and small clips as
training films them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tolman.render import film as film_module
from tolman.render import light, walk
from tolman.render.film import film
from tolman.scenes import Scene, generate_scene
from tolman.video.encode import write_clip


class Meter:
    """Seconds and rays spent inside the caster, and seconds spent shading, while it is installed."""

    def __init__(self) -> None:
        self.cast = self.shade = 0.0
        self.rays = 0

    def install(self) -> Callable[[], None]:
        """Count from now on; returns what undoes it."""
        made, colours = film_module.EmbreeScene, light.Shader.colours
        meter = self

        class Counted:
            """An Embree scene whose `run` is timed."""

            def __init__(self) -> None:
                self.scene = made()

            def run(self, origins: Any, directions: Any, *rest: Any, **named: Any) -> Any:
                start = time.process_time()
                answer = self.scene.run(origins, directions, *rest, **named)
                meter.cast += time.process_time() - start
                meter.rays += len(directions)
                return answer

        def shaded(*arguments: Any) -> Any:
            start, inside = time.process_time(), meter.cast
            answer = colours(*arguments)
            meter.shade += time.process_time() - start - (meter.cast - inside)
            return answer

        mesh = film_module.TriangleMesh
        film_module.EmbreeScene = Counted
        film_module.TriangleMesh = lambda caster, corners: mesh(caster.scene, corners)
        light.Shader.colours = shaded  # type: ignore[method-assign]

        def undo() -> None:
            film_module.EmbreeScene, film_module.TriangleMesh = made, mesh
            light.Shader.colours = colours  # type: ignore[method-assign]

        return undo


def measure(scenes: list[Scene], frames: int, side: int, style: str) -> dict[str, float]:
    """Frames a second of whole clips, the split of their time, rays a second and seconds per clip without
    frames."""
    meter = Meter()
    undo = meter.install()
    start = time.process_time()
    for seed, scene in enumerate(scenes):
        film(scene, seed, frames, (side, side), style)
    total = time.process_time() - start
    undo()
    start = time.process_time()
    for seed, scene in enumerate(scenes):
        film(scene, seed, frames, (1, 1), style)
    still = time.process_time() - start
    count = len(scenes)
    return {
        "frames_per_s": count * frames / total,
        "ms_per_frame": 1000 * (total - still) / (count * frames),
        "ms_per_clip_without_frames": 1000 * still / count,
        "embree_share": meter.cast / total,
        "shading_share": meter.shade / total,
        "rest_share": 1 - (meter.cast + meter.shade) / total,
        "million_rays_per_s": meter.rays / meter.cast / 1e6,
    }


def whole_clip(scene: Scene) -> dict[str, float]:
    """Seconds for a shadowed clip of 32 frames of 448 x 448, filmed and encoded."""
    start = time.process_time()
    shot = film(scene, 0, 32, (448, 448), "walk")
    filmed = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, shot.rgb_THWC, shot.fps, crf=23)
        size = path.stat().st_size
    return {"film_s": filmed - start, "encode_s": time.process_time() - filmed, "kilobytes": size / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--rooms", type=int, default=4, help="rooms per measurement (default 4)")
    chosen = parser.parse_args()
    if chosen.rooms < 1:
        parser.error(f"--rooms must be at least 1, got {chosen.rooms}")
    scenes = [generate_scene(seed, 2) for seed in range(chosen.rooms)]
    film(scenes[0], 0, 1, (32, 32))  # imports and textures are made once per process
    result: dict[str, dict[str, float]] = {}
    for side, frames in ((448, 8), (224, 8), (112, 16)):
        for style in walk.STYLES:
            result[f"{side}x{side} {style}"] = measure(scenes, frames, side, style)
    result["clip of 32 frames 448x448"] = whole_clip(generate_scene(0, 2))
    for name, numbers in result.items():
        print(f"{name:26s}" + "  ".join(f"{key} {value:.3g}" for key, value in numbers.items()))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
