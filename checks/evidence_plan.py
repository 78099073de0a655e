"""The experiment of docs/evidence.md as data: what `evidence.toml` says, checked, and where its files lie."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from tolman.bench.frames import CLIP_SOURCES
from tolman.cli.quickstart import RECIPE, Rooms
from tolman.learn.config import build, knob
from tolman.learn.sections import Recipe
from tolman.learn.stages import parse_stages

PLAN = Path(__file__).with_name("evidence.toml")
BASE = "base"
SETS = ("rooms", "layouts")
_KEYS = {"seeds", "clips", "rooms", "layouts", "seconds", "arms", "pairs"}


@dataclass(frozen=True)
class Layouts:
    """Held-out real layouts, the same for every seed."""

    questions: int = knob(low=1)
    """How many of the given questions are asked, evenly spread."""
    style: str = knob("survey")
    """The camera (`tolman.render.film`); frames, size and fps are those of the rooms."""


@dataclass(frozen=True)
class Seconds:
    """What things take, for the estimate before a run."""

    film: float = knob(above=0)
    answer: float = knob(above=0)


@dataclass(frozen=True)
class Pair:
    """A question that the difference second - first answers."""

    asks: str = knob()
    first: str = knob()
    second: str = knob()


@dataclass(frozen=True)
class Arm:
    """One way to train. recipe: None for the untouched starter. step: seconds, for the estimate."""

    name: str
    says: str
    step: float
    recipe: Recipe | None


@dataclass(frozen=True)
class Plan:
    """clips: what is shown in evaluations, of `CLIP_SOURCES`. tokens: an answer's length at most."""

    seeds: tuple[int, ...]
    clips: tuple[str, ...]
    rooms: Rooms
    layouts: Layouts
    seconds: Seconds
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    tokens: int

    def arm(self, name: str) -> Arm:
        """The arm of that name. Raises ValueError listing all."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"no arm {name!r}; there are: {', '.join(arm.name for arm in self.arms)}")


def read_plan(path: Path = PLAN) -> Plan:
    """Read and check an experiment; its [recipe] goes over the quickstart's recipe for all arms.

    Raises ValueError naming file, key and value.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    if wrong := sorted((set(table) - {"recipe"}) ^ _KEYS):
        raise ValueError(
            f"{path}: {wrong[0]} is missing or not known; keys: {', '.join(sorted(_KEYS))}, recipe"
        )
    common = tomllib.loads(files("tolman.cli").joinpath(RECIPE).read_text(encoding="utf-8"))
    for name, section in table.get("recipe", {}).items():
        common[name] = common.get(name, {}) | section
    plan = Plan(
        seeds=tuple(table["seeds"]),
        clips=tuple(table["clips"]),
        rooms=build(Rooms, table["rooms"], f"{path}: rooms"),
        layouts=build(Layouts, table["layouts"], f"{path}: layouts"),
        seconds=build(Seconds, table["seconds"], f"{path}: seconds"),
        arms=(Arm(BASE, "the starter as it is shipped", 0.0, None), *_arms(table["arms"], common, path)),
        pairs=tuple(build(Pair, pair, f"{path}: pairs[{at}]") for at, pair in enumerate(table["pairs"])),
        tokens=common["sampling"]["max_new_tokens"],
    )
    _check(plan, path)
    return plan


def _arms(tables: list[dict[str, Any]], common: Mapping[str, Any], path: Path) -> list[Arm]:
    """Arms are parsed as stages, but each starts from the starter, not from the one before it."""
    own = ("says", "step")
    stages = []
    for table in tables:
        if missing := [key for key in ("name", *own) if key not in table]:
            raise ValueError(f"{path}: an arm has no {missing[0]}: {table!r}")
        stage = {key: value for key, value in table.items() if key not in own}
        stages.append(stage | {"model": {"path": "starter"} | stage.get("model", {})})
    arms = []
    for table, stage in zip(tables, parse_stages({**common, "stages": stages}, str(path)), strict=True):
        if not isinstance(stage, Recipe):
            raise ValueError(f"{path}: arm {table['name']} trains nothing")
        arms.append(Arm(table["name"], table["says"], float(table["step"]), stage))
    return arms


def _check(plan: Plan, path: Path) -> None:
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"{path}: seeds must be different ones, at least one, got {plan.seeds}")
    if "true" not in plan.clips or not {*plan.clips} <= {*CLIP_SOURCES}:
        raise ValueError(f"{path}: clips must be of {', '.join(CLIP_SOURCES)}, `true` among them")
    for name in ("base", *(name for pair in plan.pairs for name in (pair.first, pair.second))):
        plan.arm(name)
    if [arm.name for arm in plan.arms].count(BASE) > 1:
        raise ValueError(f"{path}: an arm may not be called {BASE}")


def recipe_of(arm: Arm, seed: int, out: Path) -> Recipe:
    """The arm's recipe for one seed, its run folder and its rooms filled in."""
    assert arm.recipe is not None
    run = replace(arm.recipe.run, name=arm.name, out=str(out / f"seed-{seed}"), seed=seed, keep=1)
    return replace(arm.recipe, run=run, data=replace(arm.recipe.data, path=str(rooms_of(out, seed, "train"))))


def rooms_of(out: Path, seed: int, which: str) -> Path:
    """The data set of a seed's rooms; which: `train` or `held-out`."""
    return out / f"seed-{seed}" / "rooms" / which


def asked_of(out: Path, seed: int, which: str) -> Path:
    """The file of the questions of a set of `SETS`."""
    return (out / "layouts" if which == "layouts" else rooms_of(out, seed, "held-out")) / "questions.jsonl"


def answers_of(out: Path, arm: str, seed: int, which: str, clip: str) -> Path:
    """The predictions of an arm. The starter's on the layouts are the same for every seed and made once."""
    place = out / BASE if (arm, which) == (BASE, "layouts") else out / f"seed-{seed}" / arm
    return place / f"{which}-{clip}.jsonl"
