"""How long scoring takes: 5,130 answers to VSI-Bench, and every rule at long hostile text.

Run: python perf/scoring.py [SIZE], of the hostile texts in characters; a megabyte takes half an hour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tolman.bench.benchmark import Benchmark, Judge, registry, rule_names
from tolman.bench.figures import figures_of
from tolman.bench.score import find_rule, score_rows
from tolman.bench.vsibench import NUMERICAL

ROWS, SIZE = 5130, 100_000  # VSI-Bench's questions
HOSTILE = (
    "A", " ", "\n", "(", "1", "1.", "1,", "a ", "A ", "_", "'", "*", "- ", "1 - ", "1:1:", "1:11 ", "1e", "{",
    "start 1.\n", "so 1 is \n", "one two ", "A or ", "A. B. C. ", "Option A:\n", "**A ", "(A)", "[", "\t",
    "answer is ", "the answer is\n", "answer: (", "答案", "\\boxed{", '"answer": ', "yes no ", "1 to 1 ",
    "<answer>", "<answer ", "</answer>", "<think>", "</think>", "<answer>A", "<answer>\n", "\u200b", "\u3000",
)  # fmt: skip
TRUTHS = {
    "choice": "B", "letters": "AB", "yes or no": "yes", "numeric": "3", "span": [1.0, 2.0],
    "motion": "move_right:0.5", "text": "it",
}  # fmt: skip


def usual_rows() -> list[dict[str, Any]]:
    """Answers of the kinds that models give."""
    rng = np.random.default_rng(0)
    kinds = (*NUMERICAL, "object_rel_distance", "object_rel_direction_hard", "route_planning")
    said = ("B", "B. bed", "3.5", "<think>Left.</think><answer>B</answer>", "The answer is 4 m.", "about 3")
    return [
        {
            "id": k,
            "question_type": (kind := kinds[k % len(kinds)]),
            "ground_truth": "3" if kind in NUMERICAL else "B",
            "options": None if kind in NUMERICAL else ["A. sofa", "B. bed", "C. tv", "D. door"],
            "prediction": said[rng.integers(len(said))],
            "clip": str(k // 18),
        }
        for k in range(ROWS)
    ]


def seconds(call: Any, *given: Any) -> float:
    """Processor time of one call."""
    start = time.process_time()
    call(*given)
    return time.process_time() - start


def rows_for(entry: Benchmark) -> Iterator[dict[str, Any]]:
    """A row per kind of answer that the benchmark has."""
    seen = set()
    for kind in entry.tasks or ("", "multi-choice"):
        for options in (["left", "right", "back", "front"], None):
            row = {
                "id": 1,
                "question_type": kind,
                "options": options,
                "ground_truth": "B",
                "question": "Which?",
            }
            try:
                what = entry.kind(row)
            except (ValueError, KeyError):
                continue
            if what in TRUTHS and (what, options is None) not in seen:
                seen.add((what, options is None))
                yield row | {"ground_truth": TRUTHS[what]}


def slowest(entry: Benchmark, judge: Judge, size: int) -> tuple[float, str]:
    """The most seconds a hostile text took, and which it was."""
    worst = (0.0, "")
    for row in rows_for(entry):
        for unit in HOSTILE:
            text = unit * (size // len(unit))
            for prediction in (text, f"<answer>{text}</answer>"):
                try:
                    worst = max(worst, (seconds(judge, row | {"prediction": prediction}), repr(unit)))
                except (ValueError, KeyError, TypeError, IndexError):  # a row the rule has no use for
                    continue
    return worst


def main() -> None:
    rows = usual_rows()
    registry()
    for rule in rule_names(registry()["vsibench"]):
        scored = score_rows(rows, "vsibench", rule)
        score = min(seconds(score_rows, rows, "vsibench", rule) for _ in range(3))
        figures = min(seconds(figures_of, scored.rows, "vsibench") for _ in range(3))
        print(
            f"{ROWS} answers, vsibench, {rule}: judged and averaged in {score:.3f} s, figures {figures:.3f} s"
        )
    size = int(sys.argv[1]) if len(sys.argv) > 1 else SIZE
    print(f"{size} hostile characters, slowest of {2 * len(HOSTILE)} texts, seconds")
    for name, entry in registry().items():
        for rule in (*entry.rules, "strict"):
            took, text = slowest(entry, find_rule(name, rule).judge, size)
            print(f"  {name}, {rule}: {took:.3f} ({text})", flush=True)


if __name__ == "__main__":
    main()
