"""Put questions about clips or images to a backend, greedily, and score what it answers.

Each clip is decoded once, while the model answers about the ones before; questions about it go out together.
A clip that cannot be read leaves its questions unanswered, with the reason, and the benchmark's rule scores
no answer. Predictions are on disk as soon as they are made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tolman.bench.answering import Answer, Showing, Task, answer, plan
from tolman.bench.backends.backend import Backend
from tolman.bench.benchmark import Benchmark, Judge, find_benchmark
from tolman.bench.figures import Figures, compare, figures_of, strict_figures
from tolman.bench.frames import Sampling, clip_paths
from tolman.bench.predictions import Predictions
from tolman.bench.score import find_rule
from tolman.bench.workers import Workers
from tolman.data.files import write_lines
from tolman.data.rows import clip_path
from tolman.policy.templates import TEMPLATES, question_text
from tolman.questions.question import GridMap, Question
from tolman.reward.answer import final_answer

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """rows: one per question in the given order (as in predictions.jsonl). figures: the table."""

    rows: list[dict[str, Any]]
    figures: Figures
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Settings and figures (percent) as plain JSON values; under `strict` the strict rule's."""
        strict = strict_figures(self.rows, self.settings.get("benchmark", "vsibench"))
        beside = {"strict": None if strict is None else strict.to_json()}
        return self.settings | self.figures.to_json() | beside


def evaluate(
    backend: Backend | Workers,
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
    isolate: bool = False,
) -> Evaluation:
    """Ask every question once, greedily, and score the answers.

    backend: who answers, in this process; or workers, each with a backend of its own, among which the clips
    are divided: the rows are the same, in the order in which they come. clip_root: folder that
    `Question.path` is relative to. clip_source: one of `CLIP_SOURCES`: the true clip, or what is shown in its
    place (`frames`), drawn from `seed`. template: a name of
    `tolman.policy.templates.TEMPLATES`, or the benchmark's for its own words. sampling: the frames that are
    shown; the backend's own where None. batch: most questions asked together. progress: called with (done,
    total). out: JSONL file that rows are appended to as they come, see `Predictions`; resume: ask only what
    it lacks. The text given to the rule is recorded as `prediction` beside `raw`: the whole output where the
    benchmark's own words asked, else `answer_text` of it. true_maps: scene → its true map, written into the
    rows for the report and never shown to the policy. isolate: decode in processes of their own
    (`tolman.video.isolation`). Raises ValueError for unknown names, questions of no task of the benchmark,
    clips and images outside `clip_root` and, for `other`, a single scene; and as `Workers.answer`.
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
        "resolution": shown.resolution,
        "sampling": shown.rule,
        "seed": seed,
    }
    if any(question.data_type == "images" for question in questions):
        settings["image_resolution"] = shown.image_size
    run = _Run(
        entry, find_rule(benchmark, rule).judge, questions, clip_paths(questions, clip_source, seed),
        Path(clip_root), template, true_maps or {}, {},
    )  # fmt: skip
    showing = Showing(Path(clip_root), shown, clip_source, seed, max_new_tokens, isolate)
    with ExitStack() as stack:
        file = None
        if out is not None:
            file = stack.enter_context(Predictions(out, settings | {"questions": digest(questions)}, resume))
            run.rows.update(file.rows)

        def keep(found: Answer) -> None:
            row = run.rows[found.number] = run.row(found)
            if file is not None:
                file.add(row)
            if progress is not None:
                progress(len(run.rows), len(questions))

        batches = plan(run.tasks(), batch)
        if isinstance(backend, Workers):
            backend.answer(showing, batches, keep)
        else:
            answer(backend, showing, batches, keep)
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
    """The text inside the last `<answer>` after the thought, else the whole output.

    What a rule is given where words of ours asked, a departure from the official runners: a policy that is
    told to think before it answers would always score zero by a rule that reads the first word. Rules that
    look for the tag themselves are given the whole output all the same (`verdict.whole_text_of`).
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

    def tasks(self) -> list[Task]:
        """The questions without a row, by what they are shown, in order of their first one."""
        by_clip: dict[tuple[str | None, bool], list[tuple[int, str]]] = {}
        for k, question in enumerate(self.questions):
            if k not in self.rows:
                images = question.data_type == "images"
                by_clip.setdefault((self.paths[k], images), []).append((k, self.words(k)))
        return [Task(path, images, tuple(asked)) for (path, images), asked in by_clip.items()]

    def words(self, number: int) -> str:
        """The user's turn."""
        question = self.questions[number]
        if self.template == self.entry.name:
            assert self.entry.prompt is not None
            return self.entry.prompt(question)
        return question_text(question, self.template)

    def judged(self, raw: str | None) -> str | None:
        """What a rule is given: the whole output where the benchmark's own words asked, as its authors do;
        `answer_text` of it where words of ours asked for a thought and a tag.
        """
        return raw if raw is None or self.template == self.entry.name else answer_text(raw)

    def row(self, found: Answer) -> dict[str, Any]:
        """What is kept of one question, with its verdict."""
        number, reply, seen = found
        question = self.questions[number]
        row = question.extra | {
            "number": number,
            "clip_root": str(self.root),
            "id": question.problem_id,
            "scene": question.scene_id or question.extra.get("scene", ""),
            "clip": question.path,
            "clip_shown": self.paths[number] or "",
            "question_type": question.question_type,
            "question": question.problem,
            "prompt": self.words(number),
            "options": None if question.options is None else list(question.options),
            "answer_unit": question.answer_unit,
            "ground_truth": question.answer,
            "cognitive_map": question.cognitive_map or self.true_maps.get(question.scene_id),
            "raw": reply.text,
            "prediction": self.judged(reply.text),
            "unanswered": reply.text is None,
            "finished": reply.finished,
            "tokens": reply.tokens,
            "seconds": round(reply.seconds, 4),
            **seen,
        }
        verdict = self.judge(row)
        return row | verdict._asdict() | {"reason": reply.reason or verdict.reason}


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
        parts = question.path.split("|") if question.data_type == "images" else [question.path]
        for part in parts:
            clip_path(replace(question, path=part), root)
