"""Rewards for other trainers: TRL's `GRPOTrainer` and verl's `compute_score`.

A trainer's row becomes a `Question`: its columns by their published names (`problem_type`, `options`,
`solution`, `cognitive_map`, …), everything else as extra fields. This file imports neither trainer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tolman.questions.question import Question
from tolman.reward.compose import Composed, Part
from tolman.reward.graded import Reward
from tolman.reward.registry import REWARDS

_NESTED = ("cognitive_map", "evidence")
_KEYS = {"name", "weight", "only", "options"}
_DEFAULT = ({"name": "accuracy"}, {"name": "format"})


class TrlReward(Protocol):
    """What `GRPOTrainer(reward_funcs=…)` calls; `__name__` names it in TRL's logs."""

    __name__: str

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One reward for each completion."""
        ...


def trl_reward(reward: str | Reward, name: str | None = None, **options: Any) -> TrlReward:
    """A reward as a reward function of TRL: `GRPOTrainer(reward_funcs=[trl_reward("accuracy")], …)`.

    reward: a name of `REWARDS` with its options, or a reward itself. name: in TRL's logs, by default the
    reward's. The dataset's columns other than `prompt` are the question's fields, of which `solution` is
    needed; completions are texts or conversations, of which the last message counts. What cannot be graded is
    None: TRL leaves it out of the sum, and leaves a completion that no function graded out of training.
    Raises ValueError for an unknown name or option, and for columns that make no question.
    """
    if not isinstance(reward, str) and options:
        raise ValueError(f"options go with a reward's name, got a reward and {', '.join(options)}")
    grade = REWARDS[reward](**options) if isinstance(reward, str) else reward

    def function(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        values: list[float | None] = []
        for k, completion in enumerate(completions):
            row = {key: value[k] for key, value in columns.items() if _is_column(value, len(completions))}
            value = grade(_text(completion), question_of(row)).value
            values.append(None if math.isnan(value) else value)
        return values

    known = reward if isinstance(reward, str) else str(getattr(reward, "__name__", "reward"))
    function.__name__ = name or known
    return function


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    rewards: Sequence[Mapping[str, Any]] = _DEFAULT,
    ungraded: float | None = None,
) -> dict[str, float]:
    """The score of a completion as verl asks for it: `score`, the weighted sum, and every reward by name.

    In verl, `custom_reward_function.path` is this file, `.name` is `compute_score`, and `.reward_kwargs` may
    set `rewards`: [{name, weight, only, options}, …] as in a recipe, accuracy and format by default.
    ground_truth: the answer, or the whole solution with its tags. extra_info: the question's other fields.
    ungraded: the score of what cannot be graded, for which verl has no word; None raises ValueError with the
    reason instead. Raises ValueError for unknown rewards and for fields that make no question.
    """
    row = {"data_source": data_source, **(extra_info or {})}
    row["solution"] = ground_truth
    grading = Composed([_part(part) for part in rewards]).grade(solution_str, question_of(row))
    values = {name: graded.value for name, graded in grading.parts.items()}
    if not grading.ungraded:
        return {"score": grading.total, **values}
    if ungraded is None:
        reasons = "; ".join(f"{name}: {part.reason}" for name, part in grading.parts.items() if part.ungraded)
        raise ValueError(f"cannot grade a completion of {data_source}: {reasons}")
    return {"score": ungraded, **{name: ungraded if math.isnan(v) else v for name, v in values.items()}}


def question_of(row: Mapping[str, Any]) -> Question:
    """The question that a trainer's row is.

    `problem_id` and `problem` may be missing, and the solution may lack its tags or be a number or a list.
    `cognitive_map` and `evidence` may be JSON texts, and keys of theirs without a value are dropped: a
    columnar dataset gives every row the keys of all. Raises ValueError as `Question.from_row` does, and for a
    text there that is no JSON.
    """
    plain = {key: _plain(value) for key, value in row.items()}
    for name in _NESTED:
        value = plain.get(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError as error:
                raise ValueError(f"column {name} is not JSON: {error}") from error
        if isinstance(value, dict):
            value = {key: entry for key, entry in value.items() if entry is not None}
        plain[name] = value
    known = {key: value for key, value in plain.items() if value is not None}
    if "solution" in known:
        known["solution"] = _solution(known["solution"])
    return Question.from_row({"problem_id": "", "problem": "", **known})


def _is_column(value: Any, rows: int) -> bool:
    """Whether an argument holds one entry for each completion; TRL passes its state and loggers, too."""
    return isinstance(value, list | tuple) and len(value) == rows


def _text(completion: Any) -> str:
    """A completion's text: itself, or its last message's."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(piece["text"] for piece in content if piece.get("type") == "text")


def _solution(truth: Any) -> str:
    text = truth if isinstance(truth, str) else json.dumps(truth)
    return text if "<answer>" in text else f"<answer>{text}</answer>"


def _part(table: Mapping[str, Any]) -> Part:
    """One reward of a recipe's list. Raises ValueError for a key that no recipe has."""
    if unknown := sorted(set(table) - _KEYS):
        raise ValueError(f"rewards: unknown key {unknown[0]!r}; valid keys: {', '.join(sorted(_KEYS))}")
    if "name" not in table:
        raise ValueError(f"rewards: every reward needs a name, got {dict(table)}")
    only = {key: list(values) for key, values in (table.get("only") or {}).items()}
    reward = REWARDS[table["name"]](**(table.get("options") or {}))
    return Part(table["name"], reward, table.get("weight", 1.0), only)


def _plain(value: Any) -> Any:
    """Numpy arrays and numbers, as datasets give them, as Python's own."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
