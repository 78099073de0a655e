"""SPAR-Bench: twenty tasks on one, two or several views of scanned rooms."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tolman.bench import sparbench as spar
from tolman.bench.asking import SEE_SOURCE, question
from tolman.bench.benchmark import IN_TABLE, Benchmark, Rule
from tolman.bench.rules import spacer_eval
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    kind = spar.kind_of({"question_type": row["task"]})
    return question(
        "sparbench", row["id"], row["question"], row["answer"], kind=row["task"], answer_kind=kind,
        media="images", clip=f"images/{row['id']}", extra={"img_type": row["img_type"]},
    )  # fmt: skip


_over_tasks, _with_motion = (partial(spar.aggregate, with_view_change=with_it) for with_it in (False, True))
BENCHMARKS = [
    Benchmark(
        name="sparbench", title="SPAR-Bench",
        citation="Zhang et al., From Flatland to Space, arXiv 2503.22976",
        licence=SEE_SOURCE, source="jasonzhango/SPAR-Bench", files=("test.jsonl", "*.parquet", "*/*.parquet"),
        clips=IN_TABLE, read=_read,
        prompt=spar.prompt, frames="all images of a question", max_new_tokens=100,
        kind=spar.kind_of, macro=True, tasks=spar.TASKS,
        published={"human (tiny)": 67.27, "GPT-4o (tiny)": 36.39, "SpaceR-7B": 37.55, "Qwen2.5-VL-7B": 33.07},
        published_in="the repository's README, EASI's verification",
        rules={
            "official": Rule(spar.official, _over_tasks, "no answer at all is right"),
            "lmms_eval": Rule(spar.official, _over_tasks, "equal to official"),
            "vlmevalkit": Rule(spar.vlmevalkit, _with_motion, "seven steps, the last number"),
            "spacer_eval_thinking": Rule(spacer_eval.sparbench_rule, _over_tasks, "official, inside the tag"),
        },
    )
]  # fmt: skip
