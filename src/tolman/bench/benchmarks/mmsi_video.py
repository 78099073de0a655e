"""MMSI-Video-Bench: spatial reasoning in one or several clips (1,106 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, spatial, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "mmsi_video", row["id"], row["question"], row["ground_truth"], options=row.get("options"),
        clip=f"videos/{row['id']}", kind=row["type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mmsi_video", title="MMSI-Video-Bench",
        citation="Lin et al., MMSI-Video-Bench, arXiv 2512.10863", licence=SEE_SOURCE,
        source="rbler/MMSI-Video-Bench", files=("mmsivideo.json", "*.json"), clips="videos.zip", read=_read,
        prompt=ask(), frames="50, evenly, or as many as cover the clip", sampling={"frames": 50},
        kind=kind("choice"), chance=24.1,
        published={"human": 96.4, "GPT-4o": 31.56, "Qwen2.5-VL-7B": 29.66},
        published_in="the repository's README (Uniform-50)",
        rules={
            "official": Rule(spatial.mmsi_video, averages.by_type, "after boxed{, answer is, Answer:"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
        },
    )
]  # fmt: skip
