"""TempCompass: action, direction, speed, order and change, asked in four ways (captioning needs a judge)."""

from collections.abc import Callable, Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark, Judge, Rule
from tolman.bench.rules import averages, official, spacer_eval
from tolman.questions.question import Question


def _reader(task: str, kind: str) -> Callable[[int, Mapping[str, Any]], Question]:
    return lambda number, row: question(
        f"tempcompass_{task}", row["id"], row["question"], row["answer"], clip=f"videos/{row['video']}.mp4",
        kind=row["aspect"], answer_kind=kind,
    )  # fmt: skip


def _task(task: str, kind: str, after: str, chance: float, rules: dict[str, Judge]) -> Benchmark:
    return Benchmark(
        name=f"tempcompass_{task}", title=f"TempCompass, {task.replace('_', ' ')}", licence=SEE_SOURCE,
        citation="Liu et al., TempCompass, arXiv 2403.00476", source="lmms-lab/TempCompass",
        files=(f"*{task.replace('_', '?')}.json", f"{task.replace('_', '?')}/*.parquet"),
        clips="tempcompass_videos.zip", folder="tempcompass",
        unpack=unpack.by_aspect, read=_reader(task, kind), prompt=ask(after=after), frames="by model",
        official="official_disable_llm", kind=lambda row: kind, chance=chance,
        rules={name: Rule(one, averages.tempcompass, "rules only, no judge") for name, one in rules.items()},
    )  # fmt: skip


_BEST, _KIT = "Please directly give the best option:", "vlmevalkit_exact_matching"
BENCHMARKS = [
    _task("multi_choice", "choice", _BEST, 29.84, {"official_disable_llm": official.tempcompass_choice,
          _KIT: official.marked_choice, "spacer_eval_thinking": spacer_eval.tempcompass}),
    _task("yes_no", "yes or no", "Please answer yes or no:", 50.0,
          {"official_disable_llm": official.tempcompass_yes_no, _KIT: official.starting_yes_no}),
    _task("caption_matching", "text", _BEST, 50.0,
          {"official_disable_llm": official.tempcompass_caption, _KIT: official.caption_as_it_is}),
]  # fmt: skip
