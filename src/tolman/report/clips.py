"""What the policy saw and what it drew: frames of a clip beside the true map and the drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tolman.cogmap.draw import draw_map
from tolman.cogmap.map import CognitiveMap
from tolman.cogmap.parse import parse_map
from tolman.report.folder import Row, RunFiles
from tolman.report.html import Html, join, shortened, tag
from tolman.report.png import data_uri, png_bytes
from tolman.report.sections import spread
from tolman.video.clip import read_clip
from tolman.video.errors import ClipError

CLIPS = 6
FRAMES = 8
FRAME_SIZE = (128, 128)


def clips(run: RunFiles) -> Html:
    """Several clips, each with a question, its frames and the maps; nothing where no prediction was kept."""
    last = run.after or run.before
    if not last:
        return Html("")
    chosen = _choose(last)
    earlier = {row["id"]: row for row in run.before if "id" in row} if run.after else {}
    cards = [_clip(run, earlier.get(row.get("id")), row) for row in chosen]
    note = tag(
        "p",
        "Frames in order of time. On the 10×10 grid, up is the first view's direction and left is its left.",
        class_="note",
    )
    return join([tag("h2", "Clips and maps"), note, *cards])


def _choose(rows: list[Row]) -> list[Row]:
    """One row per clip, those with a drawn map first, evenly spread over the file."""
    first: dict[str, Row] = {}
    for row in rows:
        clip = str(row.get("clip", ""))
        if clip not in first or (
            "<map>" in str(row.get("raw")) and "<map>" not in str(first[clip].get("raw"))
        ):
            first[clip] = row
    drawn = [row for row in first.values() if "<map>" in str(row.get("raw"))]
    pool = drawn or list(first.values())
    return [pool[k] for k in spread(len(pool), CLIPS)]


def _clip(run: RunFiles, before: Row | None, after: Row) -> Html:
    truth = map_of(after.get("cognitive_map"))
    maps = [_figure(picture(truth), "true map") if truth else Html("")]
    named = [("before", before), ("after", after)] if before else [("drawn", after)]
    for name, row in named:
        assert row is not None
        parsed = parse_map(str(row.get("raw", "")))
        caption = f"{name} (score of the answer {100 * (row.get('score') or 0):.0f})"
        drawing = (
            picture(parsed.map, truth)
            if parsed.map
            else tag("div", f"no map: {parsed.reason}", class_="none")
        )
        maps.append(_figure(drawing, caption))
    answers = [
        f"{name}: {str(row['prediction'])[:60]!r}" for name, row in named if row and row.get("prediction")
    ]
    asked = tag(
        "p",
        str(after.get("question", "")),
        " ",
        tag("small", "; ".join(map(str, after.get("options") or []))),
    )
    truth_line = tag("p", f"Truth: {after.get('ground_truth', '?')}. {', '.join(answers)}", class_="note")
    raw = tag("details", tag("summary", "what it wrote"), shortened(str(after.get("raw", ""))))
    title = tag("h3", str(after.get("scene") or after.get("clip", "?")))
    return tag(
        "div",
        title,
        frames(run, after),
        asked,
        truth_line,
        tag("div", *maps, class_="maps"),
        raw,
        class_="card",
    )


def frames(run: RunFiles, row: Row) -> Html:
    """A strip of the clip's frames, or a line that says why there is none."""
    place = clip_file(run, row)
    if place is None:
        return tag(
            "p", f"Clip {row.get('clip', '?')} was not found; its frames are not shown.", class_="note"
        )
    try:
        clip = read_clip(place, frames=FRAMES, size=FRAME_SIZE)
    except ClipError as error:
        return tag("p", f"Frames not shown: {error}", class_="note")
    cells = [
        tag("img", src=data_uri(png_bytes(frame)), alt=f"frame {k + 1}", loading="lazy")
        for k, frame in enumerate(clip.rgb_THWC)
    ]
    return tag("div", *cells, class_="strip")


def clip_file(run: RunFiles, row: Row) -> Path | None:
    """The row's clip: as written, or relative to its `clip_root`, the recipe's clips or the run."""
    name = str(row.get("clip") or "")
    roots = [Path(), Path(str(row["clip_root"])) if row.get("clip_root") else None, run.clips, run.path]
    places = [root / name for root in roots if root is not None] if name else []
    return next((place for place in places if place.is_file()), None)


def map_of(positions: Any) -> CognitiveMap | None:
    """A `cognitive_map` field of a row as a map; None where the row has none."""
    if not isinstance(positions, dict):
        return None
    return CognitiveMap(
        {name: tuple((float(x), float(y)) for x, y in places) for name, places in positions.items()}
    )


def picture(drawn: CognitiveMap, truth: CognitiveMap | None = None) -> Html:
    """A map as an image of its own, in which nothing can run whatever its categories are called."""
    return tag(
        "img", src=data_uri(draw_map(drawn, truth).encode("utf-8", "replace"), "image/svg+xml"), alt="map"
    )


def _figure(content: Html, caption: str) -> Html:
    return tag("figure", content, tag("figcaption", caption))
