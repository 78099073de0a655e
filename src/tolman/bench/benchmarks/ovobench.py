"""OVO-Bench: what can be answered at a moment of a running video (1,640 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench import ovobench as ovo
from tolman.bench.asking import question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, video
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    answer = row["gt"] if "gt" in row else row["answer"]
    return question(
        "ovobench", row["id"], row["question"], answer, options=row.get("options"), kind=row["task"],
        clip=f"chunked_videos/{row['chunk']}", answer_kind=ovo.KINDS.get(row["task"], "choice"),
        extra={"realtime": row["realtime"], "source_clip": row["video"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="ovobench", title="OVO-Bench", citation="Li et al., OVO-Bench, arXiv 2501.05510",
        licence="CC BY-NC-SA 4.0", source="JoeLeelyf/OVO-Bench", files=("ovo_bench_new.json",),
        clips="chunked_videos.tar.part*", unpack=ovo.rows, read=_read, prompt=ovo.prompt,
        frames="64 up to the moment that is asked about", sampling={"frames": 64},
        kind=lambda row: ovo.KINDS.get(row["question_type"], "choice"), macro=True,
        published={"Gemini-1.5-Pro": 63.0, "Qwen2.5-VL-7B (lmms-eval)": 41.57},
        published_in="the repository's and lmms-eval's README",
        rules={
            "official": Rule(video.ovobench, averages.ovobench, "the true letter anywhere in the answer"),
        },
    )
]  # fmt: skip
