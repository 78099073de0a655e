"""Time the questions of real scans, and of checking them.

Usage: python perf/questions.py SCENES [--json FILE]. SCENES: VSI-Bench's metadata, a file or a folder.
No sightings are used.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from tolman.questions.ask import ask
from tolman.questions.recompute import recompute
from tolman.scenes.vsibench import read_vsibench


def measure(path: Path, seed: int, per_family: int) -> dict[str, object]:
    """Counts per family and seconds for reading, asking (from a cold start) and recomputing."""
    start = time.perf_counter()
    scenes = read_vsibench(path)
    read = time.perf_counter()
    asked = [
        (scene, question) for scene in scenes for question in ask(scene, None, seed, per_family=per_family)
    ]
    made = time.perf_counter()
    wrong = sum(recompute(q.question_type, q.problem, q.options, s).answer != q.answer for s, q in asked)
    checked = time.perf_counter()
    return {
        "scenes": len(scenes),
        "questions": len(asked),
        "families": dict(Counter(question.question_type for _, question in asked)),
        "not_reproduced": wrong,
        "seconds": {
            "read": round(read - start, 3),
            "ask": round(made - read, 3),
            "recompute": round(checked - made, 3),
        },
    }


def main() -> None:
    """Print the measurement; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="VSI-Bench scene metadata: a file or a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-family", type=int, default=4)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    result = measure(options.scenes, options.seed, options.per_family)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
