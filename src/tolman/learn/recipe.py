"""Recipes: a method is data. TOML in, checked frozen dataclasses out, nothing ignored, no torch."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tolman.learn.advantage import Advantage as AdvantageMethod
from tolman.learn.bonus import Bonus
from tolman.learn.config import Table, apply_overrides, build, to_table, write_toml
from tolman.learn.judges import with_judge
from tolman.learn.registry import ADVANTAGES, BONUSES, ENGINES, LOSSES, OBJECTIVES
from tolman.learn.sections import (
    NOT_FOR_SELECTIONS,
    Advantage,
    BatchSize,
    BonusPart,
    Data,
    Distributed,
    Engine,
    Filter,
    Loss,
    Model,
    Objective,
    Optimiser,
    Recipe,
    RewardPart,
    Run,
    Sampling,
    Select,
    Selection,
    SelectionRun,
)
from tolman.reward.compose import Composed, Part
from tolman.reward.registry import REWARDS

__all__ = [
    "Advantage", "BatchSize", "BonusPart", "Data", "Distributed", "Engine", "Filter", "Loss", "Model",
    "Objective", "Optimiser", "Recipe", "RewardPart", "Run", "Sampling", "apply_overrides", "load_recipe",
    "make_advantage", "make_bonuses", "make_loss", "make_rewards", "parse_recipe", "parse_selection",
    "read_table", "recipe_to_toml",
]  # fmt: skip

T = TypeVar("T")
_TABLES: dict[str, type] = {
    "run": Run, "model": Model, "data": Data, "objective": Objective, "optimiser": Optimiser,
    "batch": BatchSize, "loss": Loss, "sampling": Sampling, "advantage": Advantage,
    "filter": Filter, "engine": Engine, "distributed": Distributed,
}  # fmt: skip
_LISTS: dict[str, type] = {"rewards": RewardPart, "bonuses": BonusPart}


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file and apply `section.key=value` overrides.

    Raises ValueError naming file, key, value and valid choices; nothing is started.
    """
    return parse_recipe(read_table(path, overrides), str(path))


def read_table(path: str | Path, overrides: Iterable[str] = ()) -> Table:
    """A recipe file's table, unchecked, with overrides applied. Raises ValueError where it is no TOML."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ValueError(f"no recipe at {path}") from error
    return apply_overrides(table, overrides)


def parse_recipe(table: Table, source: str = "recipe") -> Recipe:
    """Check a recipe's table and make the dataclasses. source: the file's name for messages.

    Raises ValueError naming source, section.key, value and the valid choices.
    """
    if "stages" in table:
        raise ValueError(f"{source}: this is a recipe of several stages; only `tolman train` runs those")
    known = {item.name for item in dataclasses.fields(Recipe)}
    if unknown := sorted(set(table) - known):
        valid = ", ".join(sorted(known))
        raise ValueError(f"{source}: [{unknown[0]}] is not a known section; valid sections: {valid}")
    for item in dataclasses.fields(Recipe):
        if item.name not in table and item.default is dataclasses.MISSING:
            raise ValueError(f"{source}: section [{item.name}] is missing")
    recipe = Recipe(**{name: _section(name, value, source) for name, value in table.items()})
    _check_objective(recipe, table, source)
    _check_loss(recipe, source)
    _check_filter(recipe, source)
    _check_engine(recipe, source)
    _check_trackers(recipe.run, source)
    _check_adapters(recipe, source)
    if recipe.optimiser.warmup > recipe.run.steps:
        warmup, steps = recipe.optimiser.warmup, recipe.run.steps
        raise ValueError(f"{source}: optimiser.warmup is {warmup}, more than run.steps, which is {steps}")
    if recipe.rewards:
        make_rewards(recipe, source, load=False)
    if recipe.advantage is not None:
        make_advantage(recipe, source)
    make_bonuses(recipe, source)
    return recipe


def parse_selection(table: Table, source: str = "recipe") -> Selection:
    """Check the table of a selecting stage. Raises ValueError as `parse_recipe` does."""
    known = {item.name for item in dataclasses.fields(Selection)}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"{source}: [{unknown[0]}] would be ignored by a selecting stage; remove it")
    if missing := sorted(known - set(table) - {"engine"}):
        raise ValueError(f"{source}: section [{missing[0]}] is missing; a selecting stage needs it")
    tables = _TABLES | {"run": SelectionRun, "select": Select}
    selection = Selection(**{name: _section(name, value, source, tables) for name, value in table.items()})
    make_rewards(selection, source, load=False)
    _check_engine(selection, source)
    _check_selection(selection, source)
    return selection


def _check_selection(selection: Selection, source: str) -> None:
    """What is looked at is there, and nothing is set that a selecting stage would ignore."""
    rule, rewards = selection.select, {part.name: part for part in selection.rewards}
    if rule.of not in rewards:
        raise ValueError(f"{source}: select.of is {rule.of!r}; valid choices: {', '.join(rewards)}")
    if not (rule.low <= rule.high and rule.wrong < rule.right):
        raise ValueError(f"{source}: select needs low <= high and wrong < right, got {rule}")
    for key, forms in (("right", ("questions",)), ("wrong", ("questions", "answers"))):
        if rule.keep in forms and (value := getattr(rule, key)) != getattr(Select, key):
            raise ValueError(
                f"{source}: select.{key} is {value!r}, but keep is {rule.keep!r}, which takes no {key} "
                "completion; remove it"
            )
    if rule.keep == "pairs" and rule.solved != Select.solved:
        raise ValueError(
            f"{source}: select.solved is {rule.solved!r}, but a question that is always answered rightly "
            "makes no pair; remove it"
        )
    for section, keys in NOT_FOR_SELECTIONS.items():
        given = getattr(selection, section)
        for key in keys:
            if getattr(given, key, None) != getattr(type(given), key, None):
                raise ValueError(
                    f"{source}: {section}.{key} would be ignored by a selecting stage; remove it"
                )
    for part in selection.rewards:
        if part.weight != RewardPart.weight:
            raise ValueError(
                f"{source}: rewards.{part.name}.weight would be ignored by a selecting stage, which looks at "
                "one reward as it is; remove it"
            )


def _section(name: str, value: Any, source: str, tables: Mapping[str, type] = _TABLES) -> Any:
    if name in tables:
        return build(tables[name], value, f"{source}: {name}")
    if not isinstance(value, list) or not value:
        raise ValueError(f"{source}: {name} must be a list of tables ([[{name}]]), got {value!r}")
    parts: list[Any] = [
        build(_LISTS[name], entry, f"{source}: {name}[{at}]") for at, entry in enumerate(value)
    ]
    names = [part.name for part in parts]
    if doubled := [part for part in names if names.count(part) > 1]:
        raise ValueError(f"{source}: {name} lists {doubled[0]!r} twice; give it once with one weight")
    return tuple(parts)


def _check_objective(recipe: Recipe, table: Table, source: str) -> None:
    """The sections that the objective reads are there, no others are, and its options are known."""
    name = recipe.objective.name
    entry = OBJECTIVES[name]
    for section in ("loss", "sampling", "rewards", "bonuses", "advantage", "filter", "engine"):
        if section in entry.sections and section not in table:
            raise ValueError(f"{source}: section [{section}] is missing; objective {name!r} needs it")
        if section in table and section not in entry.sections | entry.optional:
            raise ValueError(f"{source}: [{section}] would be ignored by objective {name!r}; remove it")
    for key, value in recipe.objective.options.items():
        where = f"{source}: objective.options.{key}"
        if key not in entry.options:
            valid = ", ".join(entry.options) or "none"
            raise ValueError(f"{where} is not an option of {name!r}; valid options: {valid}")
        wanted = type(entry.options[key])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"{where} must be {wanted.__name__}, got {value!r}")


def _check_loss(recipe: Recipe, source: str) -> None:
    """The loss fits the objective and has no term that it would ignore."""
    loss, name = recipe.loss, recipe.objective.name
    if loss is None:
        return
    if loss.name not in OBJECTIVES[name].losses:
        valid = ", ".join(OBJECTIVES[name].losses)
        raise ValueError(f"{source}: loss.name is {loss.name!r}; objective {name!r} takes: {valid}")
    entry = LOSSES[loss.name]
    for item in dataclasses.fields(Loss):
        ignored = item.name not in {"name", "normalise", "options"} | entry.keys
        if ignored and (value := getattr(loss, item.name)) != item.default:
            raise ValueError(
                f"{source}: loss.{item.name} is {value!r}, but {loss.name} has no such term; remove it"
            )
    if loss.normalise not in entry.normalise:
        valid = ", ".join(entry.normalise)
        raise ValueError(f"{source}: loss.normalise is {loss.normalise!r}; {loss.name} takes: {valid}")
    build(entry.options, loss.options, f"{source}: loss.options")
    if name in ("dpo", "kto") and not loss.beta:
        raise ValueError(f"{source}: loss.beta is 0, but {loss.name} is made of beta times log-ratios")
    if 0 < loss.dual_clip <= 1:
        raise ValueError(f"{source}: loss.dual_clip is {loss.dual_clip:g}; it must be above 1, or 0 for none")
    if recipe.sampling is not None and recipe.sampling.updates == 1:
        _check_on_policy(loss, source)


def _check_on_policy(loss: Loss, source: str) -> None:
    """With one update per sampled batch every ratio is 1, and nothing may pretend to bound it."""
    if loss.clamp and not loss.beta:
        raise ValueError(f"{source}: loss.clamp is {loss.clamp!r}, but without loss.beta it bounds nothing")
    for key, value in (("clip", any(loss.clip)), ("dual_clip", loss.dual_clip)):
        if value:
            raise ValueError(
                f"{source}: loss.{key} is {getattr(loss, key)!r}, but with one update per sampled batch "
                "every ratio is 1; set sampling.epochs or sampling.minibatches above 1, or remove it"
            )


def _check_filter(recipe: Recipe, source: str) -> None:
    """The filter names a reward, and no advantage wants pairs that it would tear apart."""
    rule = recipe.filter
    if rule is None or recipe.advantage is None:
        return
    if ADVANTAGES[recipe.advantage.name].mirrored:
        raise ValueError(f"{source}: [filter] would tear apart the pairs of {recipe.advantage.name!r}")
    if rule.of:
        _check_rewards([rule.of], recipe, f"{source}: filter.of")
    elif rule != Filter(redraws=rule.redraws):
        raise ValueError(f"{source}: filter.bounds is {rule.bounds!r}, but filter.of names no reward")
    if not rule.bounds[0] < rule.bounds[1]:
        raise ValueError(f"{source}: filter.bounds must ascend, got {rule.bounds!r}")


def _check_engine(recipe: Recipe | Selection, source: str) -> None:
    """The engine's options are its own."""
    if recipe.engine is not None:
        build(ENGINES[recipe.engine.name].options, recipe.engine.options, f"{source}: engine.options")


def _check_trackers(run: Run, source: str) -> None:
    """Each tracker once, and a project only where one of them files runs under it."""
    if doubled := [name for name in run.trackers if run.trackers.count(name) > 1]:
        raise ValueError(f"{source}: run.trackers lists {doubled[0]!r} twice")
    if run.project != Run.project and not {"wandb", "trackio"} & set(run.trackers):
        raise ValueError(
            f"{source}: run.project is {run.project!r}, but run.trackers names neither wandb nor trackio"
        )


def _check_adapters(recipe: Recipe, source: str) -> None:
    """Adapters are told of only where there are some, and are what `train` asks for."""
    model = recipe.model
    if not model.lora_rank:
        for key in ("lora_alpha", "lora_targets"):
            if (value := getattr(model, key)) != getattr(Model, key):
                raise ValueError(f"{source}: model.{key} is {value!r}, but model.lora_rank is 0: no adapters")
        if model.quantise:
            raise ValueError(
                f"{source}: model.quantise is {model.quantise!r}, but what is in four bits cannot learn and "
                "model.lora_rank is 0: no adapters"
            )
        return
    if model.train != "text":
        raise ValueError(
            f"{source}: model.train is {model.train!r}, but adapters (model.lora_rank) are the language "
            "model's; write 'text'"
        )
    if not model.lora_targets:
        raise ValueError(f"{source}: model.lora_targets names no matrix")
    if doubled := [name for name in model.lora_targets if model.lora_targets.count(name) > 1]:
        raise ValueError(f"{source}: model.lora_targets lists {doubled[0]!r} twice")
    if recipe.distributed.shard == "full":
        raise ValueError(
            f"{source}: distributed.shard is 'full', which cannot split a policy with adapters "
            "(model.lora_rank); write 'none'"
        )
    if model.quantise and model.mixed:
        raise ValueError(
            f"{source}: model.mixed does not reach products with four-bit weights (model.quantise), taken in "
            "model.dtype; write mixed = false, and dtype = 'bfloat16' for bfloat16 products"
        )


def make_rewards(recipe: Recipe | Selection, source: str = "recipe", *, load: bool = True) -> Composed:
    """The recipe's rewards with their weights.

    load: False loads no judge; the rewards are then checked but cannot be asked. Raises ValueError for an
    unknown name, option or value, and for a judge that cannot be loaded.
    """
    parts: list[Part] = []
    for part in recipe.rewards:
        if part.name not in REWARDS:
            valid = ", ".join(sorted(REWARDS))
            raise ValueError(f"{source}: rewards.name is {part.name!r}; valid choices: {valid}")
        try:
            options = with_judge(part.options, recipe.run.device, load)
            parts.append(Part(part.name, REWARDS[part.name](**options), part.weight, part.only))
        except ValueError as error:
            raise ValueError(f"{source}: rewards.{part.name}.options: {error}") from error
    return Composed(parts)


def make_bonuses(recipe: Recipe, source: str = "recipe") -> list[Bonus]:
    """The recipe's group bonuses. ValueError for a wrong option or a reward the recipe does not have."""
    bonuses: list[Bonus] = []
    for part in recipe.bonuses:
        where = f"{source}: bonuses.{part.name}.options"
        bonus: Any = _with_options(BONUSES[part.name], part.options, where)
        _check_rewards(bonus.of, recipe, f"{where}.of")
        bonuses.append(bonus)
    return bonuses


def make_loss(loss: Loss) -> Callable[..., Any]:
    """The recipe's loss function with its terms and options filled in; imports torch."""
    entry = LOSSES[loss.name]
    options = dataclasses.asdict(build(entry.options, loss.options, "recipe: loss.options"))
    return partial(entry.load(), **{key: getattr(loss, key) for key in sorted(entry.keys)}, **options)


def make_advantage(recipe: Recipe, source: str = "recipe") -> AdvantageMethod:
    """The recipe's advantage. ValueError for a wrong option or a reward the recipe does not have."""
    assert recipe.advantage is not None
    where = f"{source}: advantage.options"
    advantage = _with_options(ADVANTAGES[recipe.advantage.name], recipe.advantage.options, where)
    fields = {item.name for item in dataclasses.fields(advantage)}  # type: ignore[arg-type]
    if advantage.names or "of" in fields:
        _check_rewards(advantage.names, recipe, f"{where}.of" if "of" in fields else where)
    return advantage


def _with_options(cls: type[T], options: Table, where: str) -> T:
    """Build a dataclass from options; what it says itself is prefixed with where it stood."""
    try:
        return build(cls, options, where)
    except ValueError as error:
        raise ValueError(str(error) if where in str(error) else f"{where}: {error}") from error


def _check_rewards(named: Sequence[str], recipe: Recipe, where: str) -> None:
    rewards = [part.name for part in recipe.rewards]
    wrong = [name for name in named if name not in rewards] or [""] * (not named)
    if wrong:
        raise ValueError(f"{where} names {wrong[0]!r}; valid choices: {', '.join(rewards)}")


def recipe_to_toml(recipe: Recipe | Selection) -> str:
    """The resolved recipe as TOML, every default written out; parsing it gives the same recipe."""
    table = to_table(recipe)
    return write_toml({name: value for name, value in table.items() if value != []})
