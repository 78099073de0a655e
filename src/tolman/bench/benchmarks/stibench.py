"""STI-Bench: motion, distance and orientation in indoor, outdoor and desktop video."""

import json
from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, official, spacer_eval, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    span = f"From {row['time_start']} s to {row['time_end']} s."
    options = json.loads(row["Candidates"]) if isinstance(row["Candidates"], str) else row["Candidates"]
    return question(
        "stibench", row["ID"], f"{span} {row['Question']}", row["Answer"], clip=row["Video"],
        options=options.values(), kind=row["Task"], extra={"scene": row["Scene"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="stibench", title="STI-Bench", citation="Li et al., STI-Bench, arXiv 2503.23765",
        licence=SEE_SOURCE,
        source="MINT-SJTU/STI-Bench", files=("qa.parquet",), clips="video.zip", read=_read,
        prompt=ask(after="Please output only the option letter!", shape="({letter}) {text}"),
        frames="at most 30, by frame rate, of 360 x 420 pixels",
        sampling={"frames": 30, "max_pixels": 151_200}, max_new_tokens=512, kind=kind("choice"), chance=20.0,
        published={"GPT-4o": 34.8, "Gemini-2.5-Pro": 41.4, "SpaceR-7B": 37.0, "Qwen2.5-VL-72B": 40.7},
        published_in="the repository's README; SpaceR-7B (32 frames): SpaceR's issue 32",
        rules={
            "official": Rule(official.stibench, averages.stibench, "the last character of one of six forms"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
            "spacer_eval_thinking": Rule(spacer_eval.stibench, averages.stibench_spacer,
                "exact; six tasks twice"),
        },
    )
]  # fmt: skip
