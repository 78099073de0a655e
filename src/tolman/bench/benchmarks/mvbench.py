"""MVBench: twenty temporal tasks with 200 questions each."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, video, vlmevalkit
from tolman.questions.question import Question

_BEFORE = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and "
    "movement of objects, and the action and pose of persons. Based on your observations, select the best "
    "option that accurately addresses the question."
)


def _read(number: int, row: Mapping[str, Any]) -> Question:
    texts, clip = row["candidates"], f"video/{row['_file']}/{row['video']}"
    part = "" if row.get("start") is None else f"#t={row['start']},{row['end']}"
    return question(
        "mvbench", f"{row['_file']}/{number}", row["question"], texts.index(row["answer"]), options=texts,
        clip=clip + part, kind=row["_file"], extra={"source_clip": clip},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mvbench", title="MVBench", citation="Li et al., MVBench, arXiv 2311.17005", read=_read,
        licence=SEE_SOURCE, source="OpenGVLab/MVBench", files=("json/*.json",), clips="video/*.zip",
        prompt=ask(_BEFORE, "Only give the best option.", "Options:", "({letter}) {text}"),
        frames="16, the middles of equal parts", sampling={"frames": 16, "rule": "middle"},
        kind=kind("choice"), chance=28.29, rules={
            "official": Rule(video.mvbench, averages.by_type, "the first word is part of (X)"),
            "official_with_open_paren": Rule(video.mvbench_after_bracket, averages.by_type, "after the ("),
            "lmms_eval": Rule(lmms_eval.mvbench, averages.by_type, "a lone letter; empty answers dropped"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.mvbench, averages.by_type, "and then can_infer"),
        },
    )
]  # fmt: skip
