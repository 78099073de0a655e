"""What the policy saw and what it drew: frames of a clip beside the true map and the drawn ones."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tolman.bench.frames import Reader, image_files
from tolman.cogmap import CognitiveMap, draw_map, extract_map_text, parse_map
from tolman.report.folder import Row, RunFiles
from tolman.report.html import Html, join, shortened, tag
from tolman.report.png import data_uri, png_bytes
from tolman.report.sections import spread
from tolman.video.clip import read_clip
from tolman.video.errors import ClipError
from tolman.video.isolation import IsolatedReader
from tolman.video.resize import resize

CLIPS = 6
FRAMES = 8
FRAME_HEIGHT = 120


def clips(run: RunFiles, isolate: bool = False) -> Html:
    """Several clips, each with a question, its frames and the maps; nothing where no prediction was kept.

    isolate: decode in a worker process.
    """
    last = run.after or run.before
    if not last:
        return Html("")
    chosen = _choose(last)
    earlier = {row["id"]: row for row in run.before if "id" in row} if run.after else {}
    with closing(IsolatedReader()) if isolate else nullcontext() as reader:
        read = read_clip if reader is None else reader.read
        cards = [_clip(run, earlier.get(row.get("id")), row, read) for row in chosen]
    note = tag(
        "p",
        "Frames in order of time. On the 10×10 grid, up is the first view's direction and left is its left.",
        class_="note",
    )
    return join([tag("h2", "Clips and maps"), note, *cards])


def _choose(rows: list[Row]) -> list[Row]:
    """Clips evenly spread over the file, one row of each: one with a map where there is one, of varying
    tasks.
    """
    by_clip: dict[str, list[Row]] = {}
    for row in rows:
        by_clip.setdefault(str(row.get("clip", "")), []).append(row)
    members = list(by_clip.values())
    chosen = []
    for turn, k in enumerate(spread(len(members), CLIPS)):
        pool = [row for row in members[k] if "<map>" in str(row.get("raw"))] or members[k]
        chosen.append(pool[turn * len(pool) // CLIPS])
    return chosen


def _clip(run: RunFiles, before: Row | None, after: Row, read: Reader) -> Html:
    """One clip: its frames, one question about it, the true map and what was drawn."""
    truth = map_of(after.get("cognitive_map"))
    named = [("before", before), ("after", after)] if before is not None else [("drawn", after)]
    maps = [_figure(picture(truth), "true")] if truth else []
    maps += [_figure(_drawn(row), name) for name, row in named]
    options = tag("small", " ".join(map(str, after.get("options") or [])))
    said = "".join(f" · {name}: {_said(row)}" for name, row in named)
    return tag(
        "div",
        tag("h3", str(after.get("scene") or after.get("clip", "?"))),
        frames(run, after, read),
        tag("p", str(after.get("question", "")), " ", options),
        tag("p", f"truth: {after.get('ground_truth', '?')}{said}", class_="note"),
        tag("div", *maps, class_="maps"),
        tag("details", tag("summary", "what it wrote"), shortened(str(after.get("raw", "")))),
        class_="card",
    )


def _said(row: Row) -> str:
    """The answer as the rule read it, and its score."""
    if row.get("unanswered"):
        return f"no answer ({row.get('reason', '')})"
    score = row.get("score")
    worth = "not gradable" if score is None else f"{100 * score:.0f} %"
    return f"{str(row.get('extracted', '?'))[:40]} ({worth})"


def _drawn(row: Row) -> Html:
    """The map of a completion as a picture, or why there is none."""
    written = extract_map_text(str(row.get("raw", "")))
    parsed = parse_map(written.text) if written.text is not None else None
    if parsed is not None and parsed.map is not None:
        return picture(parsed.map)
    return tag("div", written.reason if parsed is None else parsed.reason, class_="none")


def frames(run: RunFiles, row: Row, read: Reader) -> Html:
    """A strip of the clip's frames, or a line that says why there is none."""
    place = clip_file(run, row)
    places = image_places(run, row) if place is None else [place]
    if not places:
        return tag(
            "p", f"Clip {row.get('clip', '?')} was not found; its frames are not shown.", class_="note"
        )
    try:
        shown = [frame for one in places for frame in read(one, frames=FRAMES).rgb_THWC][:FRAMES]
    except ClipError as error:
        return tag("p", f"Frames not shown: {error}", class_="note")
    cells = [
        tag("img", src=data_uri(png_bytes(_small(frame))), alt=f"frame {k + 1}", loading="lazy")
        for k, frame in enumerate(shown)
    ]
    return tag("div", *cells, class_="strip")


def clip_file(run: RunFiles, row: Row) -> Path | None:
    """The row's clip: as written, or relative to its `clip_root`, the recipe's clips or the run."""
    name = str(row.get("clip") or "")
    roots = [Path(), Path(str(row["clip_root"])) if row.get("clip_root") else None, run.clips, run.path]
    places = [root / name for root in roots if root is not None] if name else []
    return next((place for place in places if place.is_file()), None)


def image_places(run: RunFiles, row: Row) -> list[Path]:
    """The files of a row about images (`tolman.bench.frames.image_files`); none where one is not found."""
    roots = [Path(str(row["clip_root"])) if row.get("clip_root") else None, run.path]
    for root in roots:
        try:
            places = [root / file for file in image_files(root, str(row.get("clip") or ""))] if root else []
        except ClipError:
            continue
        if places and all(place.is_file() for place in places):
            return places
    return []


def _small(rgb_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = rgb_HWC.shape[:2]
    size = (FRAME_HEIGHT, max(1, round(FRAME_HEIGHT * width / height)))
    small: npt.NDArray[np.uint8] = resize(rgb_HWC[None], size)[0]
    return small


def map_of(positions: Any) -> CognitiveMap | None:
    """A `cognitive_map` field of a row as a map; None where the row has none."""
    if not isinstance(positions, dict):
        return None
    return CognitiveMap(
        {name: tuple((float(x), float(y)) for x, y in places) for name, places in positions.items()}
    )


def picture(drawn: CognitiveMap) -> Html:
    """A map as an image of its own, in which nothing can run whatever its categories are called."""
    svg = draw_map(drawn).encode("utf-8", "replace")
    return tag("img", src=data_uri(svg, "image/svg+xml"), alt="cognitive map")


def _figure(content: Html, caption: str) -> Html:
    return tag("figure", tag("figcaption", caption), content)
