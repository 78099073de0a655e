"""OVO-Bench: what can be answered at a moment of a running video (1,640 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, video
from tolman.questions.question import Question

_KINDS = {"REC": "numeric", "SSR": "yes or no", "CRR": "yes or no"}


def _read(number: int, row: Mapping[str, Any]) -> Question:
    answer = row["gt"] if "gt" in row else row["answer"]
    return question(
        "ovobench", row["id"], row["question"], answer, options=row.get("options"), clip=row["video"],
        kind=row["task"],
        answer_kind=_KINDS.get(row["task"], "choice"), extra={"realtime": row["realtime"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="ovobench", title="OVO-Bench", citation="Li et al., OVO-Bench, arXiv 2501.05510",
        licence=SEE_SOURCE, source="JoeLeelyf/OVO-Bench (GitHub)", files=("ovo_bench_new.json",),
        clips="src_videos.tar.part*", unpack=unpack.by_moment, read=_read, prompt=ask(),
        frames="64 up to the moment that is asked about",
        kind=lambda row: _KINDS.get(row["question_type"], "choice"), macro=True,
        published={"Gemini-1.5-Pro": 63.0, "Qwen2.5-VL-7B (lmms-eval)": 41.57},
        published_in="the repository's and lmms-eval's README",
        rules={
            "official": Rule(video.ovobench, averages.ovobench, "the true letter anywhere in the answer"),
        },
    )
]  # fmt: skip
