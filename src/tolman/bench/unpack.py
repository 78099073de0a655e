"""Rows of question files that are no lists of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Rows = list[dict[str, Any]]


def by_aspect(content: Any) -> Rows:
    """TempCompass: video → aspect → questions."""
    return [
        {"id": f"{video}/{aspect}/{k}", "video": video, "aspect": aspect} | one
        for video, aspects in content.items()
        for aspect, asked in aspects.items()
        for k, one in enumerate(asked)
    ]


def by_part(content: Any) -> Rows:
    """Video-MMMU: part → number → question."""
    return [row | {"part": part} for part, rows in content.items() for row in rows.values()]


def by_video(content: Any) -> Rows:
    """LVBench: one object per video with its questions in `qa`."""
    return [{"key": video["key"]} | asked for video in content for asked in video["qa"]]


def by_sentence(content: Any) -> Rows:
    """Charades-STA and ActivityNet Captions: video → sentences and their spans in seconds."""
    return [
        {"video": video, "sentence": sentence, "span": list(span), "duration": about["duration"]}
        for video, about in content.items()
        for sentence, span in zip(about["sentences"], about["timestamps"], strict=True)
    ]


def by_moment(content: Any) -> Rows:
    """OVO-Bench: forward tasks ask the same at several moments, each of which becomes a row after the
    others.
    """
    once = [row for row in content if "test_info" not in row]
    often = [row for row in content if "test_info" in row]
    return once + [row | _moment(row, k, at) for row in often for k, at in enumerate(row["test_info"])]


def when_and_where(content: Any) -> Rows:
    """V-STaR: each row asks both; `_asked` says which."""
    return [row | {"_asked": asked} for row in content for asked in ("when", "where")]


def _moment(row: Mapping[str, Any], k: int, at: Mapping[str, Any]) -> dict[str, Any]:
    answer = at["count"] if row["task"] == "REC" else ("No", "Yes")[at["type"]]
    return {
        "id": f"{row['id']}/{k}",
        "realtime": at["realtime"],
        "answer": str(answer),
        "question": row.get("question", ""),
    }
