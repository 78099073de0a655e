"""Put questions about clips to a backend, greedily, and score what it answers.

Each clip is decoded once, while the model answers about the ones before; questions about it go out together.
A clip that cannot be read leaves its questions unanswered, with the reason, and the benchmark's rule scores
no answer. Predictions are on disk as soon as they are made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tolman.bench.backends.backend import Backend, Reply, Request
from tolman.bench.benchmark import Benchmark, Judge, find_benchmark
from tolman.bench.figures import Figures, compare, figures_of
from tolman.bench.frames import Sampling, Shown, clip_paths, read_ahead
from tolman.bench.predictions import Predictions
from tolman.bench.score import find_rule
from tolman.data.files import write_lines
from tolman.data.rows import clip_path
from tolman.policy.templates import TEMPLATES, question_text
from tolman.questions.question import GridMap, Question
from tolman.reward.answer import final_answer
from tolman.video.errors import ClipError

Progress = Callable[[int, int], None]


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
    backend: Backend,
    questions: Sequence[Question],
    clip_root: str | Path,
    *,
    clip_source: str = "true",
    template: str,
    max_new_tokens: int,
    sampling: Sampling | None = None,
    batch: int = 32,
    progress: Progress | None = None,
    out: Path | None = None,
    resume: bool = False,
    benchmark: str = "vsibench",
    rule: str = "official",
    seed: int = 0,
    true_maps: Mapping[str, GridMap] | None = None,
) -> Evaluation:
    """Ask every question once, greedily, and score the answers.

    clip_root: folder that `Question.path` is relative to. clip_source: one of `CLIP_SOURCES`: the true clip,
    or what is shown in its place (`frames`), drawn from `seed`. template: a name of
    `tolman.policy.templates.TEMPLATES`, or the benchmark's for its own words. sampling: the frames that are
    shown; the backend's own where None. batch: most questions asked together. progress: called with (done,
    total). out: JSONL file that rows are appended to as they come, see `Predictions`; resume: ask only what
    it lacks. The text given to the rule is `answer_text` of the output, recorded as `prediction` beside
    `raw`. true_maps: scene → its true map, written into the rows for the report and never shown to the
    policy. Raises ValueError for unknown names, questions of no task of the benchmark, questions about
    several images, clips outside `clip_root` and, for `other`, a single scene.
    """
    entry = find_benchmark(benchmark)
    shown = sampling or backend.sampling
    _check(entry, questions, template, batch)
    if clip_source != "none":
        _check_clips(questions, Path(clip_root))
    settings = {
        "benchmark": entry.name,
        "rule": rule,
        "model": backend.name,
        "clip_source": clip_source,
        "template": template,
        "max_new_tokens": max_new_tokens,
        "frames": shown.frames,
        "fps": shown.fps,
        "resolution": shown.size,
        "sampling": shown.rule,
        "seed": seed,
    }
    run = _Run(
        entry, find_rule(benchmark, rule).judge, questions, clip_paths(questions, clip_source, seed),
        Path(clip_root), template, true_maps or {}, {},
    )  # fmt: skip
    with ExitStack() as stack:
        file = None
        if out is not None:
            file = stack.enter_context(Predictions(out, settings | {"questions": digest(questions)}, resume))
            run.rows.update(file.rows)

        def keep(request: Request, reply: Reply) -> None:
            row = run.rows[request.number] = run.row(request, reply)
            if file is not None:
                file.add(row)
            if progress is not None:
                progress(len(run.rows), len(questions))

        batches = run.batches(shown, clip_source, seed, batch, keep)
        for request, reply in backend.replies(batches, max_new_tokens):
            keep(request, reply)
    ordered = [run.rows[k] for k in range(len(questions))]
    return Evaluation(ordered, figures_of(ordered, benchmark), settings)


def write_evaluations(path: str | Path, evaluations: Mapping[str, Evaluation]) -> None:
    """Write `evaluation.json`: {"evaluations": {name: settings and figures}, "difference": …}.

    With two or more, the difference is `compare` of the first and the last (left out where they share fewer
    than two clips). The report shows this file.
    """
    names = list(evaluations)
    content: dict[str, Any] = {"evaluations": {name: evaluations[name].to_json() for name in names}}
    if len(names) > 1:
        first, last = evaluations[names[0]], evaluations[names[-1]]
        content["difference"] = compare(
            first.rows, last.rows, benchmark=last.settings.get("benchmark", "vsibench")
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_lines(Path(path), [json.dumps(content, indent=1, ensure_ascii=False)])


def answer_text(raw: str) -> str:
    """What a rule is given: the text inside the last `<answer>` after the thought, else the whole output.

    A departure from the official runner, which hands over the whole output: a policy that thinks before it
    answers would always score zero by a rule that reads the first word.
    """
    inside = final_answer(raw).text
    return raw if inside is None else inside


def digest(questions: Sequence[Question]) -> str:
    """What tells lists of questions apart: how many, and a hash of their content and order."""
    content = "\n".join(json.dumps(question.to_row(), sort_keys=True) for question in questions)
    return f"{len(questions)}, sha256 {hashlib.sha256(content.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class _Run:
    """rows: those that are there, by the question's number. paths: the clip each question is shown."""

    entry: Benchmark
    judge: Judge
    questions: Sequence[Question]
    paths: Sequence[str | None]
    root: Path
    template: str
    true_maps: Mapping[str, GridMap]
    rows: dict[int, dict[str, Any]]

    def batches(
        self,
        sampling: Sampling,
        clip_source: str,
        seed: int,
        batch: int,
        keep: Callable[[Request, Reply], None],
    ) -> Iterator[list[Request]]:
        """The questions without a row; those about a clip that cannot be read are kept as such at once.

        Questions about one clip stay in one batch, where they share its pass through the towers. A clip with
        more than `batch` of them is asked in equal parts.
        """
        by_clip: dict[str | None, list[int]] = {}
        for k in range(len(self.questions)):
            if k not in self.rows:
                by_clip.setdefault(self.paths[k], []).append(k)
        coming = read_ahead(self.root, list(by_clip), sampling, clip_source, seed)
        gathered: list[Request] = []
        for members, shown in zip(by_clip.values(), coming, strict=True):
            if isinstance(shown, ClipError):
                for k in members:
                    keep(Request(k, "", None), Reply(None, 0, False, 0.0, f"clip cannot be read: {shown}"))
                continue
            size = math.ceil(len(members) / math.ceil(len(members) / batch))
            for at in range(0, len(members), size):
                part = [Request(k, self.words(k), shown) for k in members[at : at + size]]
                if len(gathered) + len(part) > batch:
                    yield gathered
                    gathered = []
                gathered += part
        if gathered:
            yield gathered

    def words(self, number: int) -> str:
        """The user's turn."""
        question = self.questions[number]
        if self.template == self.entry.name:
            assert self.entry.prompt is not None
            return self.entry.prompt(question)
        return question_text(question, self.template)

    def row(self, request: Request, reply: Reply) -> dict[str, Any]:
        """What is kept of one question, with its verdict."""
        question = self.questions[request.number]
        row = question.extra | {
            "number": request.number,
            "clip_root": str(self.root),
            "id": question.problem_id,
            "scene": question.scene_id,
            "clip": question.path,
            "clip_shown": self.paths[request.number] or "",
            "question_type": question.question_type,
            "question": question.problem,
            "options": None if question.options is None else list(question.options),
            "answer_unit": question.answer_unit,
            "ground_truth": question.answer,
            "cognitive_map": question.cognitive_map or self.true_maps.get(question.scene_id),
            "raw": reply.text,
            "prediction": None if reply.text is None else answer_text(reply.text),
            "unanswered": reply.text is None,
            "finished": reply.finished,
            "tokens": reply.tokens,
            "seconds": round(reply.seconds, 4),
            **_seen(request.shown),
        }
        verdict = self.judge(row)
        return row | verdict._asdict() | {"reason": reply.reason or verdict.reason}


def _seen(shown: Shown | None) -> dict[str, Any]:
    """frames: how many; frame_times: seconds in the file, in the order shown; frame_size: height, width."""
    if shown is None:
        return {"frames": 0, "frame_times": [], "frame_size": None}
    return {
        "frames": len(shown.rgb_THWC),
        "frame_times": [round(float(time), 3) for time in shown.source_T],
        "frame_size": list(shown.rgb_THWC.shape[1:3]),
    }


def _check(entry: Benchmark, questions: Sequence[Question], template: str, batch: int) -> None:
    if not questions:
        raise ValueError("no questions to ask")
    own = [entry.name] if entry.prompt is not None else []
    if template not in {*TEMPLATES, *own}:
        raise ValueError(f"unknown template {template!r}; known: {', '.join(sorted([*TEMPLATES, *own]))}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    for question in questions:
        try:
            entry.task_of(question.question_type)
        except ValueError as error:
            raise ValueError(f"question {question.problem_id}: {error}") from error


def _check_clips(questions: Sequence[Question], root: Path) -> None:
    for question in questions:
        if question.data_type == "images":
            raise ValueError(f"question {question.problem_id} is about images; only clips can be shown")
        clip_path(question, root)
