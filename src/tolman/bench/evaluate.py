"""Put questions about clips to a policy, greedily, and score what it answers.

Each clip is decoded and encoded once; questions about it share its pass through the towers. A clip that
cannot be read leaves its questions unanswered, with the reason, and the benchmark's rule scores no answer.
Predictions are on disk as soon as they are made.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from tolman.bench.figures import Figures, compare, figures_of
from tolman.bench.score import find_rule
from tolman.bench.vsibench import official_prompt, task_of
from tolman.data.files import write_lines
from tolman.policy.generate import Sample, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import TEMPLATES, build_prompt, encode_clip
from tolman.policy.tree import ClipInput
from tolman.questions.question import GridMap, Question
from tolman.reward.answer import final_answer
from tolman.video.clip import read_clip
from tolman.video.errors import ClipError

CLIP_SOURCES = ("true", "none", "other")
OFFICIAL_TEMPLATE = "vsibench"
Progress = Callable[[int, int], None]


class Shown(NamedTuple):
    """What a question is shown: the encoded clip (None: nothing), how many frames were decoded, and from
    where.

    reason: why there is no clip where there should be one.
    """

    clip: ClipInput | None
    frames: int
    path: str
    reason: str = ""


@dataclass(frozen=True)
class Evaluation:
    """rows: one per question in the given order (as in predictions.jsonl). figures: the table."""

    rows: list[dict[str, Any]]
    figures: Figures
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Settings and figures (percent) as plain JSON values."""
        return self.settings | self.figures.to_json()


def evaluate(
    policy: Policy,
    questions: Sequence[Question],
    clip_root: str | Path,
    *,
    clip_source: str = "true",
    template: str,
    max_new_tokens: int,
    batch: int = 32,
    progress: Progress | None = None,
    out: Path | None = None,
    benchmark: str = "vsibench",
    rule: str = "official",
    seed: int = 0,
    true_maps: Mapping[str, GridMap] | None = None,
) -> Evaluation:
    """Ask every question once, greedily, and score the answers.

    clip_root: folder that `Question.path` is relative to. clip_source: `true`, `none` (no clip in the prompt)
    or `other` (a clip of another scene, drawn from `seed`): what the last two still get right, the clip did
    not teach. template: a name of `tolman.policy.prompt.TEMPLATES`, or `vsibench` for the benchmark's own
    words. batch: most questions decoded together. progress: called with (done, total). out: JSONL file that
    rows are appended to as they come (it is started anew). The text given to the rule is `answer_text` of the
    output, recorded as `prediction` beside `raw`. true_maps: scene → its true map, written into the rows for
    the report and never shown to the policy. Raises ValueError for unknown names, questions of no task of the
    benchmark and, for `other`, a single scene.
    """
    judge = find_rule(benchmark, rule).judge
    _check(questions, clip_source, template, batch)
    paths = _clip_paths(questions, clip_source, seed)
    maps = true_maps or {}
    rows: dict[int, dict[str, Any]] = {}
    stream = _start(out)
    try:
        for numbers, shown in _batches(policy, questions, paths, Path(clip_root), batch):
            began = time.perf_counter()
            asked = [k for k, sight in zip(numbers, shown, strict=True) if not sight.reason]
            samples = _answer(
                policy, questions, dict(zip(numbers, shown, strict=True)), asked, template, max_new_tokens
            )
            seconds = (time.perf_counter() - began) / max(1, len(asked))
            for k, sight in zip(numbers, shown, strict=True):
                row = {"clip_root": str(clip_root)} | _row(questions[k], sight, samples.get(k), seconds)
                row["cognitive_map"] = row["cognitive_map"] or maps.get(questions[k].scene_id)
                verdict = judge(row)
                rows[k] = row | verdict._asdict() | {"reason": sight.reason or verdict.reason}
                _append(stream, rows[k])
            if progress is not None:
                progress(len(rows), len(questions))
    finally:
        if stream is not None:
            stream.close()
    ordered = [rows[k] for k in range(len(questions))]
    settings = {
        "benchmark": benchmark,
        "rule": rule,
        "model": policy.name,
        "clip_source": clip_source,
        "template": template,
        "max_new_tokens": max_new_tokens,
        "frames": policy.frames,
    }
    return Evaluation(ordered, figures_of(ordered), settings)


def write_evaluations(path: str | Path, evaluations: Mapping[str, Evaluation]) -> None:
    """Write `evaluation.json`: {"evaluations": {name: settings and figures}, "difference": …}.

    With two or more, the difference is `compare` of the first and the last (left out where they share fewer
    than two clips). The report shows this file.
    """
    names = list(evaluations)
    content: dict[str, Any] = {"evaluations": {name: evaluations[name].to_json() for name in names}}
    if len(names) > 1:
        first, last = evaluations[names[0]].rows, evaluations[names[-1]].rows
        content["difference"] = compare(first, last)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_lines(Path(path), [json.dumps(content, indent=1, ensure_ascii=False)])


def answer_text(raw: str) -> str:
    """What a rule is given: the text inside the last `<answer>` after the thought, else the whole output.

    A departure from the official runner, which hands over the whole output: a policy that thinks before it
    answers would always score zero by a rule that reads the first word.
    """
    inside = final_answer(raw).text
    return raw if inside is None else inside


def other_scenes(scenes: Sequence[str], seed: int) -> dict[str, str]:
    """Every scene → another one, each taken once: one random cycle through all of them.

    Raises ValueError for fewer than two scenes.
    """
    names = sorted(set(scenes))
    if len(names) < 2:
        raise ValueError(
            f"another scene's clip needs two scenes or more, got {len(names)}; take clip_source none"
        )
    order = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def _check(questions: Sequence[Question], clip_source: str, template: str, batch: int) -> None:
    if not questions:
        raise ValueError("no questions to ask")
    if clip_source not in CLIP_SOURCES:
        raise ValueError(f"clip source {clip_source!r} is not one of {', '.join(CLIP_SOURCES)}")
    if template != OFFICIAL_TEMPLATE and template not in TEMPLATES:
        known = ", ".join(sorted({*TEMPLATES, OFFICIAL_TEMPLATE}))
        raise ValueError(f"unknown template {template!r}; known: {known}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    for question in questions:
        try:
            task_of(question.question_type)
        except ValueError as error:
            raise ValueError(f"question {question.problem_id}: {error}") from error


def _scene(question: Question) -> str:
    return question.scene_id or question.path


def _clip_paths(questions: Sequence[Question], clip_source: str, seed: int) -> list[str | None]:
    """The clip each question is shown, relative to the root; None for none."""
    if clip_source == "none":
        return [None] * len(questions)
    if clip_source == "true":
        return [question.path for question in questions]
    first = {_scene(question): question.path for question in reversed(questions)}
    others = other_scenes([_scene(question) for question in questions], seed)
    return [first[others[_scene(question)]] for question in questions]


def _batches(
    policy: Policy, questions: Sequence[Question], paths: Sequence[str | None], root: Path, batch: int
) -> Iterator[tuple[list[int], list[Shown]]]:
    """Question numbers with what each is shown; a clip is read once.

    Questions about one clip stay in one batch, where they share its pass through the towers. A clip with more
    than `batch` of them is asked in equal parts.
    """
    by_clip: dict[str | None, list[int]] = {}
    for k in range(len(questions)):
        by_clip.setdefault(paths[k], []).append(k)
    numbers: list[int] = []
    shown: list[Shown] = []
    for path, members in by_clip.items():
        sight = _show(policy, root, path)
        size = math.ceil(len(members) / math.ceil(len(members) / batch))
        for at in range(0, len(members), size):
            part = members[at : at + size]
            if len(numbers) + len(part) > batch:
                yield numbers, shown
                numbers, shown = [], []
            numbers += part
            shown += [sight] * len(part)
    if numbers:
        yield numbers, shown


def _show(policy: Policy, root: Path, path: str | None) -> Shown:
    if path is None:
        return Shown(None, 0, "")
    try:
        clip = read_clip(root / path, frames=policy.frames)
    except ClipError as error:
        return Shown(None, 0, path, f"clip cannot be read: {error}")
    return Shown(encode_clip(policy, clip.rgb_THWC, clip.times_T), len(clip.rgb_THWC), path)


def _answer(
    policy: Policy,
    questions: Sequence[Question],
    shown: dict[int, Shown],
    asked: Sequence[int],
    template: str,
    max_new_tokens: int,
) -> dict[int, Sample]:
    """Question number → its completion."""
    prompts = []
    for k in asked:
        question, name = questions[k], template
        if template == OFFICIAL_TEMPLATE:
            words = official_prompt(question.problem, question.options)
            question, name = replace(question, problem=words, options=None), "verbatim"
        prompts.append(build_prompt(policy, question, shown[k].clip, name))
    if not prompts:
        return {}
    groups = generate(policy, prompts, 1, max_new_tokens=max_new_tokens, temperature=0)
    return {k: group[0] for k, group in zip(asked, groups, strict=True)}


def _row(question: Question, sight: Shown, sample: Sample | None, seconds: float) -> dict[str, Any]:
    """What is kept of one question; seconds: the batch's time for prompts and decoding, per question."""
    return {
        "id": question.problem_id,
        "scene": question.scene_id,
        "clip": question.path,
        "clip_shown": sight.path,
        "question_type": question.question_type,
        "question": question.problem,
        "options": None if question.options is None else list(question.options),
        "ground_truth": question.answer,
        "cognitive_map": question.cognitive_map,
        "raw": sample.text if sample else None,
        "prediction": answer_text(sample.text) if sample else None,
        "unanswered": sample is None,
        "finished": sample is not None and sample.finished,
        "tokens": len(sample.token_ids) if sample else 0,
        "frames": sight.frames,
        "seconds": round(seconds, 4) if sample else 0.0,
    }


def _start(out: Path | None) -> TextIO | None:
    if out is None:
        return None
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.open("w", encoding="utf-8")


def _append(stream: TextIO | None, row: dict[str, Any]) -> None:
    if stream is not None:
        ungraded = {} if not math.isnan(row["score"]) else {"score": None}
        stream.write(json.dumps(row | ungraded, ensure_ascii=False) + "\n")
        stream.flush()
