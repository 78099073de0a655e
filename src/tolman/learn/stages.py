"""Recipes of several stages in one file: what they share, and one table per stage merged over it. No torch.

A stage is an ordinary recipe, or a selection: a stage with [select] samples completions and keeps rows for
the stage after it. Each has a run folder of its own, out/name/01-first, out/name/02-second, …
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

from tolman.learn.config import Table
from tolman.learn.recipe import parse_recipe, parse_selection, read_table
from tolman.learn.registry import OBJECTIVES
from tolman.learn.sections import NOT_FOR_SELECTIONS, Recipe, Selection

Stage = Recipe | Selection
ROWS = "questions.jsonl"
"""What a selecting stage writes into its run folder once it is done."""
_WHOLE = ("objective", "loss", "advantage", "engine")  # who names another takes none of its options
_ALWAYS = ("run", "model", "data", "batch")
_KNOWN = {"objective", "optimiser", "loss", "sampling", "rewards", "bonuses", "advantage", "filter",
          "engine", "distributed"}  # fmt: skip


def load_stages(path: str | Path, overrides: Iterable[str] = ()) -> list[Stage]:
    """The stages of a recipe file in order; a file without [[stages]] is one stage as it stands.

    A stage's key can be overridden as stages.NAME.section.key, a common one as section.key. Raises ValueError
    naming file, stage, key, value and valid choices; nothing is started.
    """
    return parse_stages(read_table(path, overrides), str(path))


def parse_stages(table: Table, source: str = "recipe") -> list[Stage]:
    """Check the table of a recipe of one or more stages.

    A stage's keys go over the common ones; its `rewards` and `bonuses`, and a section that names another
    objective, loss, advantage or engine, replace the common ones whole. Common sections that a stage's
    objective does not read are left out of it. Where a stage does not say otherwise, model.path is
    checkpoints/final of the last stage that trained, and data.path what the stage just before it selected.
    Raises ValueError.
    """
    if "stages" not in table:
        return [parse_recipe(table, source)]
    tables = table["stages"]
    if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
        raise ValueError(f"{source}: stages must be a list of tables ([[stages]]), got {tables!r}")
    common = {name: value for name, value in table.items() if name != "stages"}
    names = [_name(one, f"{source}: stages[{at}]") for at, one in enumerate(tables)]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{source}: two stages are named {doubled[0]!r}")
    read = set().union(*(_sections(common, own) for own in tables))
    if unread := sorted(_KNOWN & set(common) - read):
        raise ValueError(f"{source}: [{unread[0]}] is read by no stage; remove it")
    stages: list[Stage] = []
    for at, (name, own) in enumerate(zip(names, tables, strict=True)):
        where = f"{source}: stages.{name}"
        merged = _merge(common, {key: value for key, value in own.items() if key != "name"}, where)
        run = merged["run"]
        if "name" not in run:
            raise ValueError(f"{source}: run.name is missing; give it a value (a string)")
        if _read(own, "run", "name") is not None:
            raise ValueError(f"{where}.run.name would be ignored: the folder is named after the stage")
        run |= {"out": str(Path(run.get("out", "runs")) / run["name"]), "name": f"{at + 1:02d}-{name}"}
        _follow(merged, own, stages)
        stages.append((parse_selection if "select" in merged else parse_recipe)(merged, where))
    if isinstance(stages[-1], Selection):
        raise ValueError(f"{source}: the last stage, {names[-1]!r}, selects rows that no stage learns from")
    return stages


def folder_of(stage: Stage) -> Path:
    """The stage's run folder."""
    return Path(stage.run.out) / stage.run.name


def _name(table: Table, where: str) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not name or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{where}.name must be letters, digits, - and _, got {name!r}")
    return name


def _sections(common: Table, own: Table) -> set[str]:
    """The sections that a stage reads."""
    if "select" in own:
        return {*_ALWAYS, "sampling", "rewards", "select", "engine"}
    name = _read(own, "objective", "name") or _read(common, "objective", "name")
    entry = OBJECTIVES.get(str(name))
    of_objective = entry.sections | entry.optional if entry else frozenset()
    return {*_ALWAYS, "objective", "optimiser", "distributed", *of_objective}


def _merge(common: Table, own: Table, where: str) -> Table:
    """The stage's table: what it says itself over the common sections that it reads."""
    if "select" in own and "objective" in own:
        raise ValueError(f"{where}: a stage has [objective] or [select], not both")
    read = _sections(common, own)
    merged = {name: deepcopy(value) for name, value in common.items() if name in read or name not in _KNOWN}
    for name, value in own.items():
        before = merged.get(name)
        another = name in _WHOLE and isinstance(value, dict) and "name" in value
        if isinstance(value, dict) and isinstance(before, dict) and not another:
            merged[name] = before | deepcopy(value)
        else:
            merged[name] = deepcopy(value)
    merged.setdefault("run", {})
    for name in _ALWAYS:
        if not isinstance(merged.get(name, {}), dict):
            raise ValueError(f"{where}: {name} must be a table, got {merged[name]!r}")
    if "select" in own:
        _drop_training(merged, own, where)
    return merged


def _drop_training(merged: Table, own: Table, where: str) -> None:
    """Take what only training reads out of a selecting stage's table.

    Common keys are for the other stages. Raises ValueError for one that the stage itself says.
    """
    for section, keys in NOT_FOR_SELECTIONS.items():
        inner = merged.get(section)
        for key in keys:
            if _read(own, section, key) is not None:
                raise ValueError(f"{where}: {section}.{key} would be ignored by a selecting stage; remove it")
            if isinstance(inner, dict):
                inner.pop(key, None)
    rewards = merged.get("rewards")
    if "rewards" not in own and isinstance(rewards, list):
        merged["rewards"] = [
            {key: value for key, value in part.items() if key != "weight"} if isinstance(part, dict) else part
            for part in rewards
        ]


def _read(table: Table, section: str, key: str) -> object:
    inner = table.get(section)
    return inner.get(key) if isinstance(inner, dict) else None


def _follow(merged: Table, own: Table, before: list[Stage]) -> None:
    """Begin with what the stages before made, where the stage itself names nothing else."""
    trained = [stage for stage in before if isinstance(stage, Recipe)]
    if trained and _read(own, "model", "path") is None:
        merged["model"] = merged.get("model", {}) | {
            "path": str(folder_of(trained[-1]) / "checkpoints/final")
        }
    if before and isinstance(before[-1], Selection) and _read(own, "data", "path") is None:
        data = before[-1].data
        source = Path(data.path)
        root = data.clips or str(source.parent if source.suffix in (".json", ".jsonl") else source)
        inherited = dict(merged.get("data", {}))
        for key in ("families", "problem_types", "data_types"):  # the selection went by them
            if _read(own, "data", key) is None:
                inherited.pop(key, None)
        merged["data"] = inherited | {"path": str(folder_of(before[-1]) / ROWS), "clips": root}
