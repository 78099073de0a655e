"""`tolman eval`: measure a policy on a benchmark."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.backends import STARTER, add_backend, add_shown, make_backend
from tolman.cli.shared import (
    FPS,
    Subparsers,
    add_command,
    add_filming,
    add_json,
    percent,
    positive,
    print_comparison,
    print_figures,
    print_table,
    progress_bar,
    say,
    write_json,
)

if TYPE_CHECKING:
    from tolman.bench.audit import Audit
    from tolman.bench.backends.backend import Backend
    from tolman.bench.benchmark import Benchmark
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.frames import Sampling
    from tolman.questions.question import GridMap, Question
    from tolman.scenes import Scene

_TOKENS = {"direct": 32, "map": 384}
_LONGEST = 1024  # tokens of an answer to the other templates
_FILMED = (448, 448)  # for a model that says no size
_CLIPS = ("true", "none", "one", "shuffled", "other")
_SHOWN = {
    "true": "",
    "none": ", no clip shown",
    "one": ", one frame shown",
    "shuffled": ", shuffled frames shown",
    "other": ", another scene's clip shown",
}


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "eval",
        "measure a policy on a benchmark",
        "Ask a policy every question of a benchmark, greedily, and score its answers by the benchmark's "
        "rule. QUESTIONS is the benchmark's own file or a folder with it (tolman score --list names the "
        "benchmarks), or rows of ours. The clips are the real videos (--videos DIR, with the rows' paths), "
        "or are filmed from the scenes' layouts (--scenes S; kept in DIR/clips, so the next call films "
        "nothing). Prints per task the score, its error clustered by clip, chance and the best constant "
        "answer. Writes DIR/predictions.jsonl as answers come, DIR/evaluation.json at the end (tolman report "
        "DIR shows both). A run that was stopped goes on with --resume; without it, earlier predictions are "
        "kept as predictions.1.jsonl. tolman score DIR scores them anew, without the model.",
        "tolman eval --scenes scenes_arkitscenes.json --questions questions_arkitscenes.json --limit 100",
        run,
    )
    _add_what(parser)
    _add_how(parser)
    add_filming(parser, None, None, None)
    add_shown(parser)
    add_backend(parser)
    add_json(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--benchmark", default="vsibench", help="benchmark (default: %(default)s)")
    parser.add_argument("--rule", default="official", help="scoring rule (default: %(default)s)")
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="QUESTIONS", help="the benchmark's questions"
    )
    clips = parser.add_mutually_exclusive_group(required=True)
    clips.add_argument("--scenes", type=Path, metavar="SCENES", help="film the clips from these layouts")
    clips.add_argument("--videos", type=Path, metavar="DIR", help="folder of the real videos")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--clip",
        choices=_CLIPS,
        default="true",
        help="what is shown: the true clip, none, its middle frame alone, its frames shuffled, or another "
        "scene's clip (default: %(default)s)",
    )
    shown.add_argument(
        "--audit",
        action="store_true",
        help="ask under all five and print how much of the benchmark needs its video (DIR/audit.json)",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--template",
        help="prompt (default: what the model was trained with; for others the benchmark's own, by its name)",
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, help="longest answer (default: by benchmark; 384 map, else 1024)"
    )
    parser.add_argument(
        "--batch", type=positive, default=32, help="most questions asked together (default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="ask N questions, evenly spread over the file"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of cameras, of --clip shuffled and other (default: 0)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the answers in DIR and ask only what is missing"
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="DIR",
        help="folder of an earlier eval of the same questions: print what changed since",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/eval"), metavar="DIR", help="folder (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Read, film, ask, score, print, write."""
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.load import load_questions
    from tolman.bench.score import find_rule

    entry = find_benchmark(arguments.benchmark)
    find_rule(entry.name, arguments.rule)
    if arguments.audit and arguments.before is not None:
        raise ValueError("--audit compares with the true clip; compare runs over time without it")
    earlier = None if arguments.before is None else earlier_evaluation(arguments.before, entry.name)
    questions = thinned(load_questions(entry.name, arguments.questions), arguments.limit)
    backend = make_backend(arguments)
    root, questions, true_maps = clips_for(arguments, backend.sampling, questions)

    def ask(clip_source: str, out: Path) -> Evaluation:
        return _ask(arguments, entry, backend, questions, root, true_maps, clip_source, out)

    if arguments.audit:
        _audit(arguments, entry, backend, ask)
        return
    evaluation = ask(arguments.clip, arguments.out)
    title = f"{backend.name} on {entry.name}, {arguments.rule} rule{_SHOWN[arguments.clip]}"
    _finish(arguments, title, backend.name, earlier, evaluation)
    say(f"predictions.jsonl and evaluation.json in {arguments.out}")


def _ask(
    arguments: argparse.Namespace,
    entry: Benchmark,
    backend: Backend,
    questions: Sequence[Question],
    root: Path,
    true_maps: dict[str, GridMap],
    clip_source: str,
    out: Path,
) -> Evaluation:
    from tolman.bench.evaluate import evaluate

    own = entry.name if arguments.server else own_template(arguments.model or STARTER, entry.name)
    template = arguments.template or own
    tokens = entry.max_new_tokens if template == entry.name else _TOKENS.get(template, _LONGEST)
    with progress_bar(f"{backend.name} on {entry.name}{_SHOWN[clip_source]}") as show:
        return evaluate(
            backend,
            questions,
            root,
            clip_source=clip_source,
            template=template,
            max_new_tokens=arguments.max_new_tokens or tokens,
            batch=arguments.batch,
            progress=show,
            out=out / "predictions.jsonl",
            resume=arguments.resume,
            benchmark=entry.name,
            rule=arguments.rule,
            seed=arguments.seed,
            true_maps=true_maps,
        )


def _finish(
    arguments: argparse.Namespace, title: str, model: str, earlier: Evaluation | None, evaluation: Evaluation
) -> None:
    from tolman.bench.evaluate import write_evaluations

    place = arguments.out / "evaluation.json"
    if earlier is None:
        print_figures(title, evaluation.figures)
        write_evaluations(place, {model: evaluation})
        write_json(arguments.json, evaluation.to_json())
    else:
        write_evaluations(place, {"before": earlier, "after": evaluation})
        figures = json.loads(place.read_text(encoding="utf-8"))
        print_comparison(title, figures)
        write_json(arguments.json, figures)


def _audit(
    arguments: argparse.Namespace,
    entry: Benchmark,
    backend: Backend,
    ask: Callable[[str, Path], Evaluation],
) -> None:
    from tolman.bench.audit import audit
    from tolman.bench.evaluate import write_evaluations

    found = {source: ask(source, arguments.out / source) for source in _CLIPS}
    result = audit(
        {source: evaluation.rows for source, evaluation in found.items()}, entry.name, arguments.seed
    )
    print_audit(f"{backend.name} on {entry.name}, {arguments.rule} rule: what needs the video", result)
    write_evaluations(arguments.out / "evaluation.json", found)
    write_json(arguments.out / "audit.json", result.to_json())
    write_json(arguments.json, result.to_json())
    say(f"audit.json, evaluation.json and predictions of each kind in {arguments.out}")


def print_audit(title: str, audit: Audit) -> None:
    """The tables of an audit: each way of showing, then the categories by task."""
    from tolman.bench.audit import CATEGORIES

    rows: list[list[object]] = []
    for source, figures in audit.views.items():
        change = audit.changes.get(source)
        moved = ["", "", ""]
        if change is not None and change.difference is not None:
            moved = [
                f"{change.difference:+.1f}",
                f"{change.low:+.1f} … {change.high:+.1f}",
                f"{change.p:.3g}",
            ]
        rows.append([source, figures.denominator, percent(figures.overall), percent(figures.stderr), *moved])
    print_table(title, ["shown", "n", "overall", "stderr", "against true", "95 %", "p"], rows)
    lines = [
        [task, *(percent(shares[name]) for name in CATEGORIES)] for task, shares in audit.categories.items()
    ]
    lines = [*lines[1:], lines[0]]
    print_table(f"percent of {audit.n} questions", ["task", *CATEGORIES], lines, total=True)


def earlier_evaluation(folder: Path, benchmark: str) -> Evaluation:
    """What an earlier `tolman eval` left in its folder. Raises ValueError where there is nothing."""
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.figures import figures_of
    from tolman.bench.predictions import read_predictions

    file = folder / "predictions.jsonl"
    if not file.is_file():
        raise ValueError(f"--before {folder}: no predictions.jsonl there; give the --out of an earlier eval")
    rows = read_predictions(file)
    return Evaluation(rows, figures_of(rows, benchmark), {"folder": folder.name, "benchmark": benchmark})


def clips_for(
    arguments: argparse.Namespace, sampling: Sampling, questions: list[Question]
) -> tuple[Path, list[Question], dict[str, GridMap]]:
    """The folder of the clips, the questions with their paths in it, and the true maps where layouts give
    them.

    Films what has to be filmed. Raises ValueError for a folder that is missing.
    """
    if arguments.scenes is None:
        if not arguments.videos.is_dir():
            raise ValueError(f"--videos {arguments.videos}: no such folder")
        return arguments.videos, questions, {}
    scenes = matching(questions, arguments.scenes)
    if arguments.audit or arguments.clip != "none":
        film(arguments, sampling, scenes)
    filmed = [replace(question, path=f"clips/{question.scene_id}.mp4") for question in questions]
    return arguments.out, filmed, maps_of(scenes)


def own_template(model: str, benchmark: str = "vsibench") -> str:
    """The prompt a policy was trained on: its run's, for a checkpoint in a run folder; the benchmark's
    otherwise.
    """
    if model == STARTER:
        return "map"
    recipe = Path(model).resolve().parent.parent / "recipe.toml"
    if not recipe.is_file():
        return benchmark
    return str(tomllib.loads(recipe.read_text(encoding="utf-8"))["model"]["template"])


def thinned(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """At most `limit` questions, evenly spread over the file, in its order."""
    if limit is None or limit >= len(questions):
        return list(questions)
    return [questions[k * len(questions) // limit] for k in range(limit)]


def matching(questions: Sequence[Question], place: Path) -> list[Scene]:
    """The scenes that the questions are about, in the file's order. Raises ValueError naming scenes that are
    missing.
    """
    from tolman.data.scene_io import read_scenes

    wanted = {question.scene_id for question in questions}
    scenes = [scene for scene in read_scenes(place) if scene.id in wanted]
    missing = sorted(wanted - {scene.id for scene in scenes})
    if missing:
        raise ValueError(f"{place} lacks {len(missing)} scenes of the questions: {', '.join(missing[:5])}")
    return scenes


def film(arguments: argparse.Namespace, sampling: Sampling, scenes: Sequence[Scene]) -> None:
    """Film the scenes into DIR/clips, those that are not there yet."""
    from tolman.data.build import build_dataset

    assert sampling.frames is not None
    with progress_bar("filming") as show:
        build_dataset(
            arguments.out,
            scenes,
            seed=arguments.seed,
            frames=sampling.frames,
            size=arguments.size or sampling.size or _FILMED,
            style=arguments.style,
            fps=arguments.fps or FPS,
            workers=arguments.workers,
            questions=False,
            progress=lambda done, total, _: show(done, total),
        )


def maps_of(scenes: Sequence[Scene]) -> dict[str, GridMap]:
    """Scene → its true map, for the report; the policy is not shown it."""
    from tolman.cogmap.build import build_map

    return {
        scene.id: {
            name: [list(place) for place in places] for name, places in build_map(scene).positions.items()
        }
        for scene in scenes
    }
