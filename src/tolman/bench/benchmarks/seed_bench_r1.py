"""SEED-Bench-R1: what to do next in everyday tasks, at three levels of transfer."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, video
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    texts = [row[f"choice_{letter}"] for letter in "abcd"]
    return question(
        "seed_bench_r1", row["sample_id"], row["question"], row["golden_choice_idx"], options=texts,
        clip=f"videos/{row['video_source']}/{row['video_basename']}", kind=row["_file"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="seed_bench_r1", title="SEED-Bench-R1",
        citation="Chen et al., SEED-Bench-R1, arXiv 2503.24376", licence=SEE_SOURCE,
        source="TencentARC/SEED-Bench-R1", files=("annotations/validation_L*.jsonl", "*.jsonl"),
        clips="videos/, images/", read=_read, prompt=ask(), frames="by model", max_new_tokens=1024,
        kind=kind("choice"), chance=25.0, official="official_string_branch",
        rules={
            "official_string_branch": Rule(video.seed_bench_r1, averages.by_type,
                "first characters, no math_verify"),
        },
    )
]  # fmt: skip
