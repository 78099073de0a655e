"""Reader for the scan metadata behind VSI-Bench (`scenes_scannet.json`, `scenes_scannetpp.json`, …).

A file maps a scan's name to `dataset`, `room_size` (m²), `room_center` (3), `object_counts` and
`object_bbox`: category → list of boxes with `centroid` (3), `axesLengths` (3, full edges) and
`normalizedAxes` (9: three unit axes one after another); metres, z up. `min` and `max` follow from these and
are not read. Source: vision-x-nyu/thinking-in-space.

Two things in the published files shape the reader. Nine ScanNet scans list every printer twice, number for
number, while `object_counts` says once: a box identical to an earlier one of its category is dropped, which
makes these counts agree. In two more (scene0474_04, scene0500_00) `object_counts` differs from the boxes
for chairs and windows, in both directions: there is no telling which is right, so it is no error. Items
follow the boxes; the file's counts stay in `scene.meta["object_counts"]`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from tolman.scenes.types import Box, Item, Scene

_SCENE_KEYS = ("dataset", "room_size", "room_center", "object_counts", "object_bbox")
_BOX_KEYS = ("centroid", "axesLengths", "normalizedAxes")


def read_vsibench(path: str | Path) -> list[Scene]:
    """The scenes of one file, or of all `scenes_*.json` in a folder (by file name), in the files' own order.

    Items keep the file's category names and order; an item's id is `"chair/0"`: category and place in the
    file's list. meta: `room_center` (three floats, metres), `object_counts` (category → int, as in the
    file), `file`. Raises ValueError naming the file, the scene, the item and the value for anything missing
    or broken.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("scenes_*.json"))
        if not files:
            raise ValueError(
                f"{path}: no scenes_*.json in this folder; give the folder or file of VSI-Bench's metadata"
            )
    elif path.is_file():
        files = [path]
    else:
        raise ValueError(f"{path}: no such file or folder")
    return [scene for file in files for scene in _read_file(file)]


def _read_file(path: Path) -> list[Scene]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    scenes = _mapping(content, str(path), "scan name → metadata")
    return [_scene(name, entry, f"{path}, scene {name}", path.name) for name, entry in scenes.items()]


def _scene(name: str, entry: object, where: str, file: str) -> Scene:
    row = _mapping(entry, where, "metadata")
    _need(row, _SCENE_KEYS, where)
    area = _numbers([row["room_size"]], 1, f"{where}: room_size")[0]
    if area <= 0:
        raise ValueError(f"{where}: room_size must be positive, got {area}")
    items: list[Item] = []
    for category, boxes in _mapping(row["object_bbox"], f"{where}: object_bbox", "category → boxes").items():
        if not isinstance(boxes, list):
            raise ValueError(
                f"{where}: object_bbox of {category} must be a list of boxes, got {_short(boxes)}"
            )
        items += _items(category, boxes, where)
    return Scene(
        id=name,
        items=tuple(items),
        floor_area=area,
        source=str(row["dataset"]),
        meta={
            "room_center": _numbers(row["room_center"], 3, f"{where}: room_center"),
            "object_counts": _counts(row["object_counts"], f"{where}: object_counts"),
            "file": file,
        },
    )


def _items(category: str, boxes: list[object], where: str) -> list[Item]:
    """The items of one category, without boxes that repeat an earlier one exactly."""
    items = []
    seen: set[tuple[float, ...]] = set()
    for index, entry in enumerate(boxes):
        item_id = f"{category}/{index}"
        at = f"{where}, item {item_id}"
        row = _mapping(entry, at, "box")
        _need(row, _BOX_KEYS, at)
        center, size, axes = (
            _numbers(row[key], count, f"{at}: {key}") for key, count in zip(_BOX_KEYS, (3, 3, 9), strict=True)
        )
        if (key := (*center, *size, *axes)) in seen:
            continue
        seen.add(key)
        try:
            box = Box(np.array(center), np.array(size), np.reshape(axes, (3, 3)))
        except ValueError as error:
            raise ValueError(f"{at}: {error}") from error
        items.append(Item(category, box, item_id))
    return items


def _counts(value: object, where: str) -> dict[str, int]:
    counts = {}
    for category, count in _mapping(value, where, "category → number").items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(f"{where}: {category} must be a count, got {_short(count)}")
        counts[category] = count
    return counts


def _numbers(value: object, count: int, where: str) -> list[float]:
    """A list of `count` finite floats."""
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{where} must be a list of {count} numbers, got {_short(value)}")
    for number in value:
        if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
            raise ValueError(f"{where} must be finite numbers, got {_short(value)}")
    return [float(number) for number in value]


def _mapping(value: object, where: str, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object ({what}), got {_short(value)}")
    return value


def _need(row: dict[str, object], keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if key not in row]
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(missing)} (has {', '.join(sorted(row)) or 'nothing'})")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
