"""What a question is shown: which frames of which clip, or which images, and the four ways to take them away.

`none` shows no clip, `one` its middle frame alone, `shuffled` its frames in another order, `other` another
scene's clip: what a policy still answers right, the video (its later frames, its order, its place) did not
teach it. Several images are treated as frames are.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tolman.questions.question import Question
from tolman.video.clip import Clip, Span, read_clip
from tolman.video.errors import ClipError
from tolman.video.patches import PatchSpec
from tolman.video.sample import RULES, rate_indices

_PART = re.compile(r"(.+)#t=(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", re.DOTALL)
CLIP_SOURCES = ("true", "none", "one", "shuffled", "other")
Reader = Callable[..., Clip]
"""`tolman.video.clip.read_clip`, or `read` of an `IsolatedReader`."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip, and how large.

    frames: this many, by `rule` of `tolman.video.sample.RULES`. fps: the frames shown every 1/fps seconds, of
    which `frames` (where given) is the most. size: (height, width) in pixels that frames are resized to,
    whatever their aspect; None keeps the aspect, and the file's size but for `bounds`, a tower's (its
    `frame_size`), and `max_pixels`, the most of a frame. image_size: the same of images, which otherwise keep
    their aspect (and are resized within the model's own bounds). Raises ValueError for values out of range,
    without both frames and fps, and for another rule than `uniform` beside fps.
    """

    frames: int | None
    fps: float | None = None
    size: tuple[int, int] | None = None
    rule: str = "uniform"
    image_size: tuple[int, int] | None = None
    bounds: PatchSpec | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.frames is None and self.fps is None:
            raise ValueError("say how many frames a clip is shown with, or how many a second")
        if self.rule not in RULES:
            raise ValueError(f"unknown sampling rule {self.rule!r}; known: {', '.join(RULES)}")
        if self.rule != "uniform" and self.fps is not None:
            raise ValueError(f"sampling rule {self.rule!r} says which of a number of frames; give no fps")
        if (self.frames is not None and self.frames < 1) or (self.fps is not None and not self.fps > 0):
            raise ValueError(f"frames and fps must be above 0, got {self.frames} and {self.fps}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ValueError(f"max_pixels must be above 0, got {self.max_pixels}")

    @property
    def resolution(self) -> tuple[int, int] | dict[str, int] | None:
        """What a run writes down: the size, or what frames are kept within, or None for the file's own."""
        if self.size is not None:
            return self.size
        kept = {"max_pixels": self.max_pixels} if self.max_pixels is not None else {}
        if self.bounds is not None:
            tower = self.bounds
            kept |= {"tower_min_pixels": tower.min_pixels, "tower_max_pixels": tower.max_pixels}
        return kept or None

    def fit(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a clip's frames are shown with. Raises ValueError as `bounds.frame_size`."""
        if self.size is not None:
            return self.size
        if self.bounds is None:
            scale = min(1.0, math.sqrt((self.max_pixels or height * width) / (height * width)))
            return max(1, int(height * scale)), max(1, int(width * scale))
        tower = self.bounds
        if self.max_pixels is not None:
            most = self.max_pixels * (max(frames, tower.temporal) if tower.per_clip else 1)
            least, most = min(tower.min_pixels, most), min(tower.max_pixels, most)
            tower = replace(tower, min_pixels=least, max_pixels=most)
        return tower.frame_size(frames, height, width)


@dataclass(frozen=True, eq=False)
class Shown:
    """Frames of a clip as they are shown, in this order.

    rgb_THWC: (T, H, W, 3) uint8. times_T: (T,) seconds at which they stand for the model, never descending.
    source_T: (T,) seconds in the file; other than times_T where frames are shuffled. path: the clip's,
    relative to the root.
    """

    path: str
    rgb_THWC: npt.NDArray[np.uint8]
    times_T: npt.NDArray[np.float64]
    source_T: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Images:
    """Images as they are shown, in this order.

    path: the question's. rgb: each (H, W, 3) uint8. resized: whether they were brought to a size that was
    asked for.
    """

    path: str
    rgb: tuple[npt.NDArray[np.uint8], ...]
    resized: bool = False


def clip_paths(questions: Sequence[Question], clip_source: str, seed: int) -> list[str | None]:
    """The clip each question is shown, relative to the root; None for none. Raises ValueError for a source
    not in `CLIP_SOURCES`, and for `other` where there is a single scene.
    """
    if clip_source not in CLIP_SOURCES:
        raise ValueError(f"clip source {clip_source!r} is not one of {', '.join(CLIP_SOURCES)}")
    if clip_source == "none":
        return [None] * len(questions)
    if clip_source != "other":
        return [question.path for question in questions]
    first = {_scene(question): question.path for question in reversed(questions)}
    others = other_scenes([_scene(question) for question in questions], seed)
    return [first[others[_scene(question)]] for question in questions]


def other_scenes(scenes: Sequence[str], seed: int) -> dict[str, str]:
    """Every scene → another one, each taken once: one random cycle through all of them.

    Raises ValueError for fewer than two scenes.
    """
    names = sorted(set(scenes))
    if len(names) < 2:
        raise ValueError(
            f"another scene's clip needs two scenes or more, got {len(names)}; take clip_source none"
        )
    order = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def part_of(path: str) -> tuple[str, Span | None]:
    """A clip's file, and the seconds of it that are shown where its path ends in `#t=START,END` (a media
    fragment as of the W3C); None for all of it.
    """
    match = _PART.fullmatch(path)
    return (match.group(1), (float(match.group(2)), float(match.group(3)))) if match else (path, None)


def show(
    root: Path, path: str, sampling: Sampling, clip_source: str, seed: int, read: Reader | None = None
) -> Shown:
    """The frames of one clip, which may be a folder of its frames (`_from_folder`). read: `read_clip` where
    None. Raises ClipError where it cannot be read.
    """
    file, span = part_of(path)
    read = read or read_clip
    if (root / file).is_dir():
        clip = _from_folder(root / file, sampling, read)
    else:
        clip = read(
            root / file,
            frames=sampling.frames,
            fps=sampling.fps,
            size=None if sampling.resolution is None else sampling.fit,
            rule=sampling.rule,
            span=span,
        )
    rgb, times = clip.rgb_THWC, clip.times_T
    if clip_source == "one":
        middle = slice((len(times) - 1) // 2, (len(times) - 1) // 2 + 1)
        return Shown(path, rgb[middle], times[middle], times[middle])
    if clip_source == "shuffled":
        order = shuffled(len(times), _order_of(path, seed))
        return Shown(path, rgb[order], times, times[order])
    return Shown(path, rgb, times, times)


def _from_folder(folder: Path, sampling: Sampling, read: Reader) -> Clip:
    """Frames of a scan, of which each is a file (`*-rgb.png` where there are such, as OpenEQA extracts them;
    else every file), in the order of their names, as if one was taken every second. Raises ClipError without
    any, and for frames of several sizes.
    """
    names = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    names = [file for file in names if file.name.endswith("-rgb.png")] or names
    if not names:
        raise ClipError(folder, "is a folder without frames")
    seconds = np.arange(len(names), dtype=np.float64)
    if sampling.fps is None:
        chosen = RULES[sampling.rule](len(names), sampling.frames or len(names))
    else:
        chosen = rate_indices(seconds, sampling.fps, sampling.frames)

    def fit(_: int, height: int, width: int) -> tuple[int, int]:
        return sampling.fit(len(chosen), height, width)

    size = None if sampling.resolution is None else fit
    rgb = [read(names[k], frames=1, size=size).rgb_THWC[0] for k in chosen]
    if len({one.shape for one in rgb}) > 1:
        raise ClipError(folder, "holds frames of several sizes")
    return Clip(np.stack(rgb), seconds[chosen], folder)


def show_images(
    root: Path, path: str, sampling: Sampling, clip_source: str, seed: int, read: Reader | None = None
) -> Images:
    """A question's images (`image_files`); of a file with several frames the first. As `show`."""
    files = image_files(root, path)
    if clip_source == "one":
        files = files[(len(files) - 1) // 2 :][:1]
    if clip_source == "shuffled":
        files = [files[k] for k in shuffled(len(files), _order_of(path, seed))]
    size = sampling.image_size
    rgb = tuple((read or read_clip)(root / file, frames=1, size=size).rgb_THWC[0] for file in files)
    return Images(path, rgb, size is not None)


def image_files(root: Path, path: str) -> list[str]:
    """The files of a question's images, relative to the root: those that its path names, with `|` between
    them, or those in the folder that it names, by their names. Raises ClipError for an empty folder.
    """
    folder = root / path
    if not folder.is_dir():
        return path.split("|")
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    if not names:
        raise ClipError(folder, "is a folder without images")
    return [f"{path}/{name}" for name in names]


def _order_of(path: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(path.encode())])


def shuffled(count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """(count,) a random order other than the true one (the same where there is a single frame)."""
    order = rng.permutation(count)
    while count > 1 and (np.diff(order) > 0).all():
        order = rng.permutation(count)
    return order


def _scene(question: Question) -> str:
    return question.scene_id or question.path
