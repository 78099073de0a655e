"""`tolman eval`: measure a policy on a benchmark."""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import (
    Subparsers,
    add_command,
    add_filming,
    add_json,
    positive,
    print_comparison,
    print_figures,
    progress_bar,
    quiet_loading,
    say,
    write_json,
)

if TYPE_CHECKING:
    from tolman.bench.evaluate import Evaluation
    from tolman.policy.policy import Policy
    from tolman.questions.question import GridMap, Question
    from tolman.scenes import Scene

_TOKENS = {"vsibench": 16, "direct": 32, "map": 384}


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "eval",
        "measure a policy on a benchmark",
        "Ask a policy every question of a benchmark, greedily, and score its answers by the benchmark's "
        "rule. QUESTIONS is VSI-Bench's own file (JSON or JSON lines) or rows of ours. The clips are the "
        "real videos (--videos DIR, with <dataset>/<scene>.mp4 or the rows' paths), or are filmed from "
        "the scenes' layouts (--scenes S; kept in DIR/clips, so the next call films nothing). Prints per "
        "task the score, its error clustered by clip, chance and the best constant answer; overall is the "
        "mean over tasks. Writes DIR/predictions.jsonl as answers come, DIR/evaluation.json at the end "
        "(tolman report DIR shows both).",
        "tolman eval --scenes scenes_arkitscenes.json --questions questions_arkitscenes.json --limit 100",
        run,
    )
    _add_what(parser)
    _add_how(parser)
    add_filming(parser, None, None)
    add_json(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--benchmark", default="vsibench", help="benchmark (default: %(default)s)")
    parser.add_argument("--rule", default="official", help="scoring rule (default: %(default)s)")
    parser.add_argument(
        "--model", default="starter", help="starter, or a folder or name of a model (default: starter)"
    )
    parser.add_argument(
        "--device", default="cpu", help="where the model runs, such as cuda (default: %(default)s)"
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="QUESTIONS", help="the benchmark's questions"
    )
    clips = parser.add_mutually_exclusive_group(required=True)
    clips.add_argument("--scenes", type=Path, metavar="SCENES", help="film the clips from these layouts")
    clips.add_argument("--videos", type=Path, metavar="DIR", help="folder of the real videos")


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clip",
        choices=("true", "none", "other"),
        default="true",
        help="what is shown: the true clip, none, or another scene's; what the last two still get right, "
        "the clip did not teach (default: %(default)s)",
    )
    parser.add_argument(
        "--template", help="prompt (default: map for the starter and what was trained from it, else vsibench)"
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, help="longest answer (default: 16 vsibench, 384 map, else 1024)"
    )
    parser.add_argument(
        "--batch", type=positive, default=32, help="most questions asked together (default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="ask N questions, evenly spread over the file"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of cameras and of --clip other (default: 0)"
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
    from tolman.bench.rows import read_benchmark
    from tolman.bench.score import find_rule

    find_rule(arguments.benchmark, arguments.rule)
    earlier = None if arguments.before is None else earlier_evaluation(arguments.before)
    questions = thinned(read_benchmark(arguments.questions), arguments.limit)
    from tolman.bench.evaluate import evaluate, write_evaluations
    from tolman.policy.load import load_policy

    quiet_loading()
    policy = load_policy(arguments.model, device=arguments.device)
    root, questions, true_maps = clips_for(arguments, policy, questions)
    template = arguments.template or own_template(arguments.model)
    with progress_bar(f"{policy.name} on {arguments.benchmark}") as show:
        evaluation = evaluate(
            policy,
            questions,
            root,
            clip_source=arguments.clip,
            template=template,
            max_new_tokens=arguments.max_new_tokens or _TOKENS.get(template, 1024),
            batch=arguments.batch,
            progress=show,
            out=arguments.out / "predictions.jsonl",
            benchmark=arguments.benchmark,
            rule=arguments.rule,
            seed=arguments.seed,
            true_maps=true_maps,
        )
    shown = {"true": "", "none": ", no clip shown", "other": ", another scene's clip shown"}[arguments.clip]
    title = f"{policy.name} on {arguments.benchmark}, {arguments.rule} rule{shown}"
    if earlier is None:
        print_figures(title, evaluation.figures)
        write_evaluations(arguments.out / "evaluation.json", {policy.name: evaluation})
        write_json(arguments.json, evaluation.to_json())
    else:
        write_evaluations(arguments.out / "evaluation.json", {"before": earlier, "after": evaluation})
        figures = json.loads((arguments.out / "evaluation.json").read_text(encoding="utf-8"))
        print_comparison(title, figures)
        write_json(arguments.json, figures)
    say(f"predictions.jsonl and evaluation.json in {arguments.out}")


def earlier_evaluation(folder: Path) -> Evaluation:
    """What an earlier `tolman eval` left in its folder. Raises ValueError where there is nothing."""
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.figures import figures_of

    file = folder / "predictions.jsonl"
    if not file.is_file():
        raise ValueError(f"--before {folder}: no predictions.jsonl there; give the --out of an earlier eval")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [row | {"score": math.nan} if row["score"] is None else row for row in rows]
    return Evaluation(rows, figures_of(rows), {"folder": folder.name})


def clips_for(
    arguments: argparse.Namespace, policy: Policy, questions: list[Question]
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
    if arguments.clip != "none":
        film(arguments, policy, scenes)
    filmed = [replace(question, path=f"clips/{question.scene_id}.mp4") for question in questions]
    return arguments.out, filmed, maps_of(scenes)


def own_template(model: str) -> str:
    """The prompt a policy was trained on: its run's, for a checkpoint in a run folder; the benchmark's
    otherwise.
    """
    if model == "starter":
        return "map"
    recipe = Path(model).resolve().parent.parent / "recipe.toml"
    if not recipe.is_file():
        return "vsibench"
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


def film(arguments: argparse.Namespace, policy: Policy, scenes: Sequence[Scene]) -> None:
    """Film the scenes into DIR/clips, those that are not there yet."""
    from tolman.data.build import build_dataset

    with progress_bar("filming") as show:
        build_dataset(
            arguments.out,
            scenes,
            seed=arguments.seed,
            frames=arguments.frames or policy.frames,
            size=arguments.size or policy.frame_size,
            style=arguments.style,
            fps=arguments.fps,
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
