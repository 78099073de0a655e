"""How long reading and scoring maps takes, and what rewards cost: usual text, and the most hostile we know.

Run: python perf/rewards.py
"""

from __future__ import annotations

import json
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


def evidence() -> None:
    """Rewards of spans, boxes, tracks, claims and layouts."""
    boxes = {str(k): [k, k, k + 50, k + 50] for k in range(32)}
    room = {f"thing {k}": [[k, 0.5, k + 0.8, 1.5]] for k in range(12)}
    frames = [{"idx": k, "time": float(k)} for k in range(8)]
    items = {str(k): {"chair": [[0.1, 0.2, 0.3, 0.4]]} for k in range(8)}
    extra = {"key_frames": frames, "key_items": items, "image_size": [640, 480], "layout": room}
    claims = "".join(f"<obj>chair</obj><box>[64, 96, 192, 192]</box>at<t>{k}.0</t>s so " for k in range(8))
    thought = f"<think>{claims}<map>{json.dumps(room)}</map></think>"
    answers = {
        "temporal_iou": [3, 7],
        "box_iou": {"boxes": [0, 0, 9, 9]},
        "spatio_temporal_iou": {"time": [3, 7], "boxes": boxes},
        "tracking": {"boxes": boxes},
        "evidence_boxes": "B",
        "evidence_times": "B",
        "keyframes": "B",
        "layout": "B",
        "soft_choice": "B",
    }
    print("spans, boxes, 32 boxes by frame, 8 claims, a layout of 12; milliseconds: usual, hostile")
    hostile = f"<think>{'<obj>' * 200_000}</think><answer>{'[' * 200_000}</answer>"
    for name, answer in answers.items():
        text = answer if isinstance(answer, str) else json.dumps(answer)
        question = Question(1, "?", "video", "", None, f"<answer>{text}</answer>", "", "", extra=extra)
        reward, usual = REWARDS[name](), f"{thought}<answer>{text}</answer>"
        assert reward(usual, question).value > 0.99, name
        each = [milliseconds(lambda r=reward, c=c, q=question: r(c, q), 5) for c in (usual, hostile)]
        print(f"  reward, {name}: {each[0]:.3f}, {each[1]:.2f}")


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
    evidence()
    print("hostile text, milliseconds (fastest of 3): strict, published")
    for name, hostile in HOSTILE.items():
        each = [
            milliseconds(lambda r=rule, h=hostile: parse_map(h, names, r), 3)
            for rule in ("strict", "published")
        ]
        print(f"  {name}: {each[0]:.2f}, {each[1]:.2f}")


if __name__ == "__main__":
    main()
