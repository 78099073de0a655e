"""Scene files: our own JSON lines, without loss; VSI-Bench's metadata by the same function."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tolman.data.files import read_text, write_lines
from tolman.scenes import Box, Item, Scene
from tolman.scenes.vsibench import read_vsibench

SCENES_FILE = "scenes.jsonl"
_ARRAY, _TUPLE = "$array", "$tuple"


def read_scenes(path: str | Path) -> list[Scene]:
    """Read scenes from our `.jsonl`, a data set folder holding one (`scenes.jsonl`), or VSI-Bench's metadata.

    A `.json` file, or a folder of `scenes_*.json`, is read as VSI-Bench's (`read_vsibench`). Raises
    ValueError naming file, line and value for what cannot be read, and for a path that is none of these.
    """
    path = Path(path)
    if path.is_dir() and (path / SCENES_FILE).is_file():
        path = path / SCENES_FILE
    if path.is_dir():
        if any(path.glob("scenes_*.json")):
            return list(read_vsibench(path))
        raise ValueError(f"{path}: holds neither {SCENES_FILE} nor VSI-Bench's scenes_*.json")
    if path.suffix == ".json":
        return list(read_vsibench(path))
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: expected our .jsonl, VSI-Bench's .json, or a folder of either")
    lines = read_text(path).split("\n")
    return [_parse(path, k, line) for k, line in enumerate(lines, start=1) if line.strip()]


def write_scenes(path: str | Path, scenes: Iterable[Scene]) -> None:
    """Write scenes as JSON lines, whole or not at all; `read_scenes` gives back every float64 bit for bit.

    Arrays and tuples in `meta` are tagged and come back as such. Raises ValueError naming the scene for
    `meta` that JSON cannot hold.
    """
    write_lines(Path(path), (scene_text(scene) for scene in scenes))


def scene_text(scene: Scene) -> str:
    """One line of JSON for a scene; equal scenes give equal text."""
    row = {
        "id": scene.id,
        "source": scene.source,
        "floor_area": float(scene.floor_area),
        "height": None if scene.height is None else float(scene.height),
        "floor": None if scene.floor is None else np.asarray(scene.floor, dtype=np.float64).tolist(),
        "items": [_item_row(item) for item in scene.items],
        "meta": {key: _pack(value, f"scene {scene.id}: meta[{key!r}]") for key, value in scene.meta.items()},
    }
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _item_row(item: Item) -> dict[str, Any]:
    """An item as JSON values."""
    box = {name: getattr(item.box, name).tolist() for name in ("center", "size", "axes")}
    return {"id": item.id, "category": item.category, **box}


def _parse(path: Path, line: int, text: str) -> Scene:
    """One line of ours."""
    try:
        row = json.loads(text)
        return Scene(
            id=row["id"],
            items=tuple(
                Item(item["category"], Box(item["center"], item["size"], item["axes"]), item["id"])
                for item in row["items"]
            ),
            floor_area=row["floor_area"],
            floor=None if row["floor"] is None else np.array(row["floor"], dtype=np.float64),
            height=row["height"],
            source=row["source"],
            meta={key: _unpack(value) for key, value in row["meta"].items()},
        )
    except KeyError as error:
        raise ValueError(f"{path}, line {line}: a scene lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}, line {line}: not a scene: {error}") from error


def _pack(value: object, where: str) -> Any:
    """A JSON value that `_unpack` turns back into `value`."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and np.isfinite(value).all():
        return {_ARRAY: value.tolist()}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(part, where) for part in value]}
    if isinstance(value, list):
        return [_pack(part, where) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) and key[:1] != "$" for key in value):
        return {key: _pack(part, where) for key, part in value.items()}
    if value is None or type(value) in (bool, int, str) or (type(value) is float and np.isfinite(value)):
        return value
    raise ValueError(
        f"{where} cannot be written: {value!r}; use finite numbers, text, lists, tuples, float64 arrays"
    )


def _unpack(value: Any) -> Any:
    """The inverse of `_pack`."""
    if isinstance(value, list):
        return [_unpack(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return np.array(value[_ARRAY], dtype=np.float64)
    if _TUPLE in value:
        return tuple(_unpack(part) for part in value[_TUPLE])
    return {key: _unpack(part) for key, part in value.items()}
