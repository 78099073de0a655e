"""`tolman plan`: what a recipe needs, before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import Subparsers, add_command, add_json, positive, print_table, write_json

if TYPE_CHECKING:
    from tolman.learn.hardware import Hardware
    from tolman.learn.plan import ModelSize, Plan
    from tolman.learn.stages import Stage

_GIB, _TFLOP = 2**30, 1e12


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "plan",
        "what a recipe needs: memory, seconds a step, which knob to turn",
        "Predict the peak memory and the seconds of a step of RECIPE from sizes alone: no weight is loaded, "
        "nothing is downloaded, and the data is only counted where it is there. Any key of the recipe can be "
        "set as in tolman train: --section.key value. Says what takes most and what to turn first, and what "
        "every knob would do by itself. docs/plan.md tells how far off predictions were from measurements. "
        "Exits with 0 also where the recipe does not fit.",
        "tolman plan recipes/spacer-7b.toml --hardware a100-80 --batch.questions_per_clip 2",
        run,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe file (.toml)")
    machine = parser.add_argument_group("the machine (default: run.hardware, else h200, for device cpu cpu2)")
    machine.add_argument(
        "--hardware", metavar="NAME", help="h200, h100, a100-80, a100-40, l40s, rtx4090 or cpu2 (two cores)"
    )
    machine.add_argument("--memory", type=float, metavar="GiB", help="memory of another device")
    machine.add_argument(
        "--tflops", type=float, metavar="N", help="its matrix products in the recipe's type, as published"
    )
    machine.add_argument("--bandwidth", type=float, metavar="GB/s", help="of its memory")
    machine.add_argument(
        "--processes", type=positive, default=1, metavar="N", help="of torchrun, a device each (default: 1)"
    )
    parser.add_argument(
        "--question-tokens",
        type=positive,
        metavar="N",
        help="of a prompt without its clip (default: by template)",
    )
    parser.add_argument(
        "--completion-tokens",
        type=positive,
        metavar="N",
        help="of a completion (default: the sampling budget; gold ones: 200)",
    )
    parser.add_argument(
        "--longest-tokens",
        type=positive,
        metavar="N",
        help="of the longest completion in a step, which decoding waits for (default: all are as long)",
    )
    add_json(parser)
    parser.set_defaults(takes_overrides=True)


def run(arguments: argparse.Namespace) -> None:
    """Predict and print every stage."""
    from tolman.cli.train_command import overrides
    from tolman.learn.plan import Lengths, make_plan, to_json
    from tolman.learn.stages import load_stages

    asked = (arguments.question_tokens, arguments.completion_tokens, arguments.longest_tokens)
    lengths = Lengths(*(tokens or 0 for tokens in asked))
    plans: list[Plan] = []
    known: dict[str, ModelSize] = {}
    for stage in load_stages(arguments.recipe, overrides(arguments.rest)):
        size = _size(stage, known)
        machine = _machine(arguments, stage)
        plans.append(
            make_plan(stage, size, machine, lengths, clips=_clips(stage), processes=arguments.processes)
        )
    for plan in plans:
        _print(plan)
    write_json(arguments.json, {"recipe": str(arguments.recipe), "plans": [to_json(plan) for plan in plans]})


def _size(stage: Stage, known: dict[str, ModelSize]) -> ModelSize:
    """Of the stage's policy; what an earlier stage will have written has that one's sizes."""
    from tolman.learn.plan import model_size
    from tolman.learn.stages import folder_of

    size = known.get(stage.model.path) or model_size(stage.model.path)
    known[str(folder_of(stage) / "checkpoints/final")] = size
    return size


def _clips(stage: Stage) -> int | None:
    """How many clips the stage's data has, None where it is not there yet."""
    from tolman.learn.corpus import load_corpus

    if not Path(stage.data.path).exists():
        return None
    return len(load_corpus(stage.data).training)


def _machine(arguments: argparse.Namespace, stage: Stage) -> Hardware:
    """The one that is named, or the one that the three numbers describe."""
    from tolman.learn.hardware import Hardware, find_hardware
    from tolman.learn.sections import Recipe

    numbers = {name: getattr(arguments, name) for name in ("memory", "tflops", "bandwidth")}
    given = [value for value in numbers.values() if value is not None]
    is_gpu = stage.run.device != "cpu"
    if not given:
        own = stage.run.hardware if isinstance(stage, Recipe) else ""
        return find_hardware(arguments.hardware or own or ("h200" if is_gpu else "cpu2"))
    if arguments.hardware:
        raise ValueError("give --hardware, or --memory, --tflops and --bandwidth, not both")
    if len(given) < len(numbers) or not all(0 < value < float("inf") for value in given):
        raise ValueError(
            f"--memory, --tflops and --bandwidth go together and must be positive, got {numbers}"
        )
    memory, flops, bandwidth = numbers["memory"], numbers["tflops"] * _TFLOP, numbers["bandwidth"] * 1e9
    return Hardware("custom", memory, flops, flops, bandwidth, is_gpu)


def _print(plan: Plan) -> None:
    """The tables of one stage."""
    from tolman.learn.plan import changes

    step, size, machine = plan.step, plan.size, plan.hardware
    print(
        f"{plan.recipe.run.name}: {plan.recipe.model.path}, {size.parameters / 1e9:.3g} billion weights, on "
        f"{f'{step.processes} ' if step.processes > 1 else ''}{machine.name}. A step of a process: "
        f"{step.clips} clips of {step.frames} frames ({step.tree.clip} tokens), "
        f"{step.samples} completions in all, of at most {step.tree.completion} tokens, questions of "
        f"{step.tree.question}; {plan.flops / _TFLOP:.3g} TFLOP in loss and gradients."
    )
    _print_memory(plan)
    rows = [
        [name, _seconds(value), _share(value / plan.step_seconds)] for name, value in plan.seconds.items()
    ]
    rows.append(["step", _seconds(plan.step_seconds), ""])
    print_table("seconds", ["part", "seconds", "share"], rows, total=True)
    _print_remarks(plan)
    table = [
        [
            ", ".join(change.settings),
            _gib(change.plan.memory.peak) + ("" if change.plan.fits else " (too much)"),
            _seconds(change.plan.step_seconds),
            _seconds(change.plan.sample_seconds),
            change.changes,
        ]
        for change in changes(plan)
    ]
    now = ["as it is", _gib(plan.memory.peak), _seconds(plan.step_seconds), _seconds(plan.sample_seconds), ""]
    print_table("one knob turned", ["knob", "peak GiB", "step s", "s a completion", "changes"], [now, *table])


def _print_memory(plan: Plan) -> None:
    phases = plan.memory.phases
    names = list(dict.fromkeys(name for parts in phases.values() for name in parts))
    rows = [[name, *(_gib(parts.get(name)) for parts in phases.values())] for name in names]
    rows.append(["together", *(_gib(sum(parts.values())) for parts in phases.values())])
    print_table("GiB on the device, while", ["what for", *phases], rows, total=True)
    if plan.memory.host:
        host = ", ".join(f"{name} {_gib(value)}" for name, value in plan.memory.host.items())
        print(f"Main memory: {_gib(sum(plan.memory.host.values()))} GiB ({host}).")


def _print_remarks(plan: Plan) -> None:
    """Does it fit, what dominates, what to turn first, what the figures leave out."""
    from tolman.learn.plan import advise
    from tolman.learn.plan.duration import reading

    advice = advise(plan)
    peak = f"Peak {_gib(plan.memory.peak)} of {plan.hardware.memory:g} GiB ({plan.memory.peak_phase})"
    print(
        f"{peak}: {'it fits' if plan.fits else 'it DOES NOT FIT'}. "
        f"Most of the {'time' if plan.fits else 'memory'} is {advice.dominates}, {_share(advice.share)}."
    )
    if plan.mfu:
        print(f"Model FLOP utilisation of loss and gradients: {_share(plan.mfu)}.")
    for number, change in enumerate(advice.turn):
        after = change.plan
        turn = f"{'then' if number else 'Turn first'}: {', '.join(change.settings)}"
        print(
            f"{turn} (changes {change.changes}): "
            f"{_gib(after.memory.peak)} GiB, {_seconds(after.sample_seconds)} s a completion."
        )
    if not plan.fits and not (advice.turn and advice.turn[-1].plan.fits):
        print("No knob of this recipe makes it fit; take a smaller model or more memory.")
    print(
        f"Clips that are not in the cache yet take {_seconds(reading(plan.step))} s a step more (720p video, "
        "one core)."
    )


def _gib(value: float | None) -> str:
    return "–" if value is None else f"{value / _GIB:.3g}"


def _seconds(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
