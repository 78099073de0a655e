"""How long it takes to read, score and reward maps: usual ones, and the most hostile text we know.

Run: python perf/rewards.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tolman.cogmap import CognitiveMap, map_text, parse_map, score_map
from tolman.questions.question import Question
from tolman.reward import REWARDS

HOSTILE = {
    "a million '['": "[" * 1_000_000,
    "a million '9'": "9" * 1_000_000,
    "1,300 points": "{'chair': [" + "[1,2]," * 1_300 + "]}",
    "2,600 strings": "{" + "'a'" * 2_600 + "}",
    "7,900 blanks": "{" + " " * 7_900 + "}",
    "1,300 names": "{chair" + " chair" * 1_300 + "}",
    "3,900 decimals": "chair " + "1." * 3_900,
}


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The fastest of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    rng = np.random.default_rng(0)
    names = ("bed", "ceiling light", "chair", "sofa", "table", "trash can", "tv", "window")
    truth = CognitiveMap.of({name: rng.integers(0, 10, (4, 2)).tolist() for name in names})
    drawn = CognitiveMap.of({name: rng.integers(0, 10, (4, 2)).tolist() for name in names})
    text = map_text(drawn)
    print(f"a map of {drawn.size} positions, milliseconds (fastest of 50)")
    for rule in ("strict", "published"):
        print(f"  read, {rule}: {milliseconds(lambda r=rule: parse_map(text, names, r), 50):.3f}")
    for rule in ("calibrated", "published"):
        print(f"  score, {rule}: {milliseconds(lambda r=rule: score_map(drawn, truth, r), 50):.3f}")
    question = Question(
        1, "?", "video", "multiple choice", None, "<answer>B</answer>", "", "", cognitive_map=truth.to_dict()
    )
    completion = f"<think>{'so ' * 300}<map>{text}</map></think><answer>B</answer>"
    for name in ("accuracy", "format", "map", "spacer_accuracy"):
        reward = REWARDS[name]()
        print(f"  reward, {name}: {milliseconds(lambda r=reward: r(completion, question), 50):.3f}")
    print("hostile text, milliseconds (fastest of 3): strict, published")
    for name, hostile in HOSTILE.items():
        each = [
            milliseconds(lambda r=rule, h=hostile: parse_map(h, names, r), 3)
            for rule in ("strict", "published")
        ]
        print(f"  {name}: {each[0]:.2f}, {each[1]:.2f}")


if __name__ == "__main__":
    main()
