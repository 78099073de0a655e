"""VCR-Bench: 1,034 questions whose reasoning is rated beside the answer (the authors ask a judge)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = [text for text in row["choices"].values() if text] if row["multiple-choice"] else None
    return question(
        "vcrbench", row["id"], row["question"], row["answer"], options=options, clip=row["video_path"],
        kind=row["dimension"], answer_kind="choice" if options else "text",
        extra={"duration": row.get("duration")},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="vcrbench", title="VCR-Bench", citation="Qi et al., VCR-Bench, arXiv 2504.07956",
        licence=SEE_SOURCE, source="VLM-Reasoning/VCR-Bench", files=("meta_info_video.json", "input.json"),
        clips="v1/videos", read=_read, prompt=ask(), frames="64, evenly", sampling={"frames": 64},
        max_new_tokens=1024,
        kind=lambda row: "choice" if row.get("options") else "text", rules={},
    )
]  # fmt: skip
