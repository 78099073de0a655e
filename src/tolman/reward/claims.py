"""What a thought claims to have seen and when, in Open-o3 Video's notation, and what was really to be seen.

A claim reads `<obj>chair</obj><box>[10, 20, 60, 80]</box>at<t>3.2</t>s`, a moment alone `<t>3.2</t>s` (arXiv
2510.20579). The truth stands in the question's evidence or its extra fields under the published names:
`key_frames` = [{"idx": 7, "time": 3.0}, …], `key_items` = {"7": {"chair": [[x1, y1, x2, y2], …]}} in shares
of the picture, and `image_size` = [width, height] in the pixels in which claims are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from tolman.questions.question import Question
from tolman.reward.answer import thought
from tolman.reward.overlap import Box
from tolman.reward.structured import as_box, as_dict, as_many, as_number, read_literal

MAX_CLAIMS = 200  # more than a thought of 4,000 tokens holds; what follows is not read
MAX_BOXES = 20  # of one claim
_MOMENT = re.compile(r"<t>([^<]{1,40})</t>s")
_PUBLISHED_MOMENT = re.compile(r"<t>([\d.]+)</t>s")
_CLAIM = re.compile(r"<obj>([^<]*)</obj>((?:<box>\[[^<>]*\]</box>)+)at<t>([^<]{1,40})</t>s")
_BOX = re.compile(r"\[[^\[\]]{0,200}\]")


class Claim(NamedTuple):
    """An object, where it is claimed to be (pixels; None for what is no box) and when (seconds or None)."""

    name: str
    boxes: tuple[Box | None, ...]
    time: float | None


class KeyFrame(NamedTuple):
    """A moment in seconds, and what is to be seen then: object → boxes in pixels."""

    time: float
    items: dict[str, list[Box]]


def read_claims(text: str) -> list[Claim]:
    """The claims of a text, at most MAX_CLAIMS of MAX_BOXES boxes each, in order. Linear time."""
    claims = []
    for match in islice(_CLAIM.finditer(text), MAX_CLAIMS):
        boxes = islice((box.group() for box in _BOX.finditer(match[2])), MAX_BOXES)
        read = tuple(as_box(read_literal(box)) for box in boxes)
        claims.append(Claim(match[1].strip(), read, _time(match[3])))
    return claims


def read_moments(completion: str) -> list[float | None]:
    """The different moments of the thought in seconds, at most MAX_CLAIMS; None for one that is no number."""
    found = (_time(text.group(1)) for text in _MOMENT.finditer(thought(completion)))
    return list(dict.fromkeys(islice(found, MAX_CLAIMS)))


def published_moments(completion: str) -> list[float]:
    """Every moment of the first thought as Open-o3's code reads them; none at all where one is no number."""
    try:
        return [float(text) for text in _PUBLISHED_MOMENT.findall(first_thought(completion))]
    except ValueError:
        return []


def first_thought(completion: str) -> str:
    """Between the first `<think>` and the next `</think>`, "" without them: where Open-o3's code looks."""
    start = completion.find("<think>")
    end = completion.find("</think>", start) if start >= 0 else -1
    return completion[start + len("<think>") : end] if end >= 0 else ""


def key_frames(question: Question) -> list[KeyFrame]:
    """The question's key frames with their items, boxes in pixels; [] where it has none.

    A foreign field of that name that is no list of dicts is none. Raises ValueError, naming the question, for
    key frames or items that are broken.
    """
    rows = _field(question, "key_frames")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return []
    items = as_dict(_field(question, "key_items")) or {}
    width, height = _size(question) if items else (1.0, 1.0)
    frames = []
    for row in rows:
        fields = as_dict(row) or {}
        time = as_number(fields.get("time"))
        shown = as_dict(items.get(str(fields.get("idx")), {}))
        boxes = {name: as_many(entry, as_box) for name, entry in (shown or {}).items()}
        known = {name: entry for name, entry in boxes.items() if entry is not None}
        if time is None or shown is None or len(known) < len(boxes):
            what = f"{str(row)[:60]} is no key frame, or its items are no boxes"
            raise ValueError(f"question {question.problem_id}: {what}")
        scaled = {name: [_scaled(box, width, height) for box in entry] for name, entry in known.items()}
        frames.append(KeyFrame(time, scaled))
    return frames


def claims_text(frames: Iterable[KeyFrame]) -> str:
    """The claims that key frames bear out, or their moments where they show nothing; one a line."""
    return "\n".join(line for frame in frames for line in _lines(frame))


def _lines(frame: KeyFrame) -> list[str]:
    moment = f"<t>{frame.time}</t>s"
    lines = []
    for name, boxes in frame.items.items():
        drawn = "".join(f"<box>{json.dumps(list(box))}</box>" for box in boxes)
        lines += [f"<obj>{name}</obj>{drawn}at{moment}"] if boxes else []
    return lines or [moment]


def _field(question: Question, name: str) -> object:
    return question.evidence.get(name, question.extra.get(name))


def _size(question: Question) -> tuple[float, float]:
    size = _field(question, "image_size")
    numbers = [as_number(entry) for entry in size] if isinstance(size, list | tuple) else []
    found = [number for number in numbers if number is not None and number > 0]
    if len(numbers) != 2 or len(found) != 2:
        need = "key items need image_size [width, height]"
        raise ValueError(f"question {question.problem_id}: {need}, got {size}")
    return found[0], found[1]


def _scaled(box: Box, width: float, height: float) -> Box:
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _time(text: str) -> float | None:
    try:
        return as_number(float(text))
    except ValueError:
        return None
