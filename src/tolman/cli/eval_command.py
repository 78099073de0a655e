"""`tolman eval`: measure a policy on a benchmark."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.backends import STARTER, add_backend, add_shown, opened_backend, shown_of
from tolman.cli.shared import (
    FPS,
    Subparsers,
    add_command,
    add_filming,
    add_isolate,
    add_json,
    positive,
    print_comparison,
    print_evaluation,
    progress_bar,
    say,
    write_json,
    write_log,
)

if TYPE_CHECKING:
    from tolman.bench.backends.backend import Backend
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.frames import Sampling
    from tolman.bench.suites import Part
    from tolman.bench.workers import Workers
    from tolman.questions.question import GridMap, Question
    from tolman.scenes import Scene

_TOKENS = {"direct": 32, "map": 384}
_LONGEST = 1024  # tokens of an answer to the other templates
_DATA = Path("benchmarks")
_FILMED = (448, 448)  # for a model that says no size
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
        "rule. Questions and clips are looked for in DATA/vsibench and so on, as they are published (what is "
        "missing there is said, with where to get it, before anything starts). Or QUESTIONS is the "
        "benchmark's own file or a folder with it (tolman score --list names the benchmarks), or rows of "
        "ours, and the clips are the real videos (--videos DIR, with the rows' paths), or are filmed from "
        "the scenes' layouts (--scenes S; kept in DIR/clips, so the next call films nothing). Prints per "
        "task the score, its error clustered by clip, chance and the best constant answer. Writes "
        "DIR/predictions.jsonl as answers come, DIR/evaluation.json at the end (tolman report DIR shows "
        "both); of several benchmarks one folder each, and DIR/summary.md, .csv and .json. A run that was "
        "stopped goes on with --resume; without it, earlier predictions are kept as predictions.1.jsonl. "
        "tolman score DIR scores them anew, without the model.",
        "tolman eval --scenes scenes_arkitscenes.json --questions questions_arkitscenes.json --limit 100",
        run,
    )
    _add_what(parser)
    _add_how(parser)
    add_filming(parser, None, None, None, "; and that answer, each with a model of its own (default: 1)")
    add_shown(parser)
    add_isolate(parser)
    add_backend(parser)
    add_json(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--benchmark",
        default="vsibench",
        metavar="NAME[,…]",
        help="benchmarks, or all6: the six of SpaceR (default: %(default)s)",
    )
    parser.add_argument("--rule", default="official", help="scoring rule (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DATA",
        help="folder with a folder for each benchmark (default: benchmarks)",
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="take clips that are not in DATA for unreadable ones instead of refusing to start",
    )
    parser.add_argument("--questions", type=Path, metavar="QUESTIONS", help="the benchmark's questions")
    clips = parser.add_mutually_exclusive_group()
    clips.add_argument("--scenes", type=Path, metavar="SCENES", help="film the clips from these layouts")
    clips.add_argument("--videos", type=Path, metavar="DIR", help="folder of the real videos")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--clip",
        choices=tuple(_SHOWN),
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
        "--log",
        choices=["lmms-eval"],
        help="at the end also write the answers as lmms-eval's samples and results, into DIR",
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
    from tolman.bench.score import find_rule
    from tolman.bench.suites import suite_names
    from tolman.cli.eval_suite import run_audit, run_suite

    names = suite_names(arguments.benchmark)
    for name in names:
        if find_rule(name, arguments.rule).asks is not None:
            raise ValueError(
                f"the {arguments.rule} rule of {name} asks a model: ask the questions with --rule strict, "
                f"then tolman score {arguments.out} --rule {arguments.rule} --judge URL --judge-model NAME"
            )
    _check(arguments, len(names))
    earlier = None if arguments.before is None else earlier_evaluation(arguments.before, names[0])
    parts = _parts(arguments, names)
    with opened_backend(arguments) as backend:
        if len(names) > 1:
            run_suite(arguments, backend, parts, lambda part, out: _ask(arguments, backend, part, {}, out))
            return
        part, true_maps = with_clips(arguments, backend.sampling, parts[0])
        if arguments.audit:
            run_audit(
                arguments,
                backend.name,
                part.entry,
                lambda source, out: _ask(arguments, backend, part, true_maps, out, source),
            )
            return
        evaluation = _ask(arguments, backend, part, true_maps, arguments.out)
    title = f"{backend.name} on {part.entry.name}, {arguments.rule} rule{_SHOWN[arguments.clip]}"
    _finish(arguments, title, backend.name, earlier, evaluation)
    say(f"predictions.jsonl and evaluation.json in {arguments.out}")


def _check(arguments: argparse.Namespace, count: int) -> None:
    """Raises ValueError for options that do not fit together."""
    placed = arguments.videos is not None or arguments.scenes is not None
    if (arguments.questions is None) == placed:
        raise ValueError(
            "--questions goes with --videos or --scenes; without all three, questions and clips are those in "
            "--data DATA"
        )
    if arguments.questions is not None and (arguments.data is not None or arguments.allow_missing):
        raise ValueError("--data and --allow-missing are for benchmarks in a folder of data, not --questions")
    if count > 1 and (arguments.questions is not None or arguments.audit or arguments.before is not None):
        raise ValueError("--questions, --audit and --before are for one benchmark; name one")
    if arguments.audit and arguments.before is not None:
        raise ValueError("--audit compares with the true clip; compare runs over time without it")


def _parts(arguments: argparse.Namespace, names: Sequence[str]) -> list[Part]:
    """The questions of each benchmark and where its clips are."""
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.load import load_questions
    from tolman.bench.suites import Incomplete, Part, placed, read_suite

    def choose(questions: Sequence[Question]) -> list[Question]:
        return thinned(questions, arguments.limit)

    if arguments.questions is None:
        unseen = arguments.clip == "none" and not arguments.audit
        try:
            return read_suite(names, arguments.data or _DATA, choose, arguments.allow_missing or unseen)
        except Incomplete as error:
            for told in error.told:
                say(told)
            raise ValueError(f"{len(error.told)} of {len(names)} benchmarks are not complete") from error
    entry = find_benchmark(names[0])
    questions = choose(load_questions(entry.name, arguments.questions))
    if arguments.videos is not None and arguments.videos.is_dir():
        return [placed(entry, arguments.questions, questions, arguments.videos)]
    return [Part(entry, arguments.videos or arguments.out, questions, [])]


def _ask(
    arguments: argparse.Namespace,
    backend: Backend | Workers,
    part: Part,
    true_maps: dict[str, GridMap],
    out: Path,
    clip_source: str | None = None,
) -> Evaluation:
    from tolman.bench.evaluate import evaluate

    entry, source = part.entry, clip_source or arguments.clip
    own = entry.name if arguments.server else own_template(arguments.model or STARTER, entry.name)
    template = arguments.template or own
    tokens = entry.max_new_tokens if template == entry.name else _TOKENS.get(template, _LONGEST)
    with progress_bar(f"{backend.name} on {entry.name}{_SHOWN[source]}") as show:
        evaluation = evaluate(
            backend,
            part.questions,
            part.root,
            clip_source=source,
            template=template,
            max_new_tokens=arguments.max_new_tokens or tokens,
            sampling=shown_of(arguments, backend.sampling, entry) if template == entry.name else None,
            batch=arguments.batch,
            progress=show,
            out=out / "predictions.jsonl",
            resume=arguments.resume,
            benchmark=entry.name,
            rule=arguments.rule,
            seed=arguments.seed,
            true_maps=true_maps,
            isolate=arguments.isolate,
        )
    if arguments.log is not None:
        write_log(out, evaluation.rows, evaluation.settings)
    return evaluation


def _finish(
    arguments: argparse.Namespace, title: str, model: str, earlier: Evaluation | None, evaluation: Evaluation
) -> None:
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.evaluate import write_evaluations
    from tolman.bench.summary import published_text

    place = arguments.out / "evaluation.json"
    if earlier is None:
        print_evaluation(title, evaluation)
        told = published_text(find_benchmark(evaluation.settings["benchmark"]))
        if told:
            print(told)
        write_evaluations(place, {model: evaluation})
        write_json(arguments.json, evaluation.to_json())
    else:
        write_evaluations(place, {"before": earlier, "after": evaluation})
        figures = json.loads(place.read_text(encoding="utf-8"))
        print_comparison(title, figures)
        write_json(arguments.json, figures)


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


def with_clips(
    arguments: argparse.Namespace, sampling: Sampling, part: Part
) -> tuple[Part, dict[str, GridMap]]:
    """The part with its clips there, and the true maps where layouts give them.

    Films what has to be filmed. Raises ValueError for a folder that is missing.
    """
    if arguments.scenes is None:
        if not part.root.is_dir():
            raise ValueError(f"--videos {part.root}: no such folder")
        return part, {}
    scenes = matching(part.questions, arguments.scenes)
    if arguments.audit or arguments.clip != "none":
        film(arguments, sampling, scenes)
    filmed = [replace(question, path=f"clips/{question.scene_id}.mp4") for question in part.questions]
    return replace(part, questions=filmed), maps_of(scenes)


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
            workers=arguments.workers or 2,
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
