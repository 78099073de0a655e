"""Rows of question files that are no lists of rows, or whose lists name things otherwise.

Several benchmarks are published twice: as their authors' JSON, and as tables on the Hub.
"""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]


def by_aspect(content: Any) -> Rows:
    """TempCompass: video → aspect → questions; or the Hub's rows, with `video_id` and `dim`."""
    if isinstance(content, list):
        named = [row | {"video": row["video_id"], "aspect": row["dim"]} for row in content]
        return [row | {"id": f"{row['video']}/{row['aspect']}/{k}"} for k, row in enumerate(named)]
    return [
        {"id": f"{video}/{aspect}/{k}", "video": video, "aspect": aspect} | one
        for video, aspects in content.items()
        for aspect, asked in aspects.items()
        for k, one in enumerate(asked)
    ]


def by_video(content: Any) -> Rows:
    """LVBench: one object per video with its questions in `qa`."""
    return [{"key": video["key"]} | asked for video in content for asked in video["qa"]]


def by_sentence(content: Any) -> Rows:
    """Charades-STA and ActivityNet Captions: video → sentences and their spans in seconds; or the Hub's rows,
    with `caption` and `timestamp`.
    """
    if isinstance(content, list):
        return [
            {"video": row["video"].removesuffix(".mp4"), "sentence": row["caption"], "span": row["timestamp"]}
            for row in content
        ]
    return [
        {"video": video, "sentence": sentence, "span": list(span), "duration": about["duration"]}
        for video, about in content.items()
        for sentence, span in zip(about["sentences"], about["timestamps"], strict=True)
    ]


def when_and_where(content: Any) -> Rows:
    """V-STaR: each row asks both; `_asked` says which."""
    return [row | {"_asked": asked} for row in content for asked in ("when", "where")]
