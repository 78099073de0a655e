"""Judges that a recipe names: `judge` in the options of a reward is the table of a chat server or of a model.

With `url` it holds the options of `tolman.reward.judge_server.ServerJudge`, and the reward makes that judge
itself. Without, the keys of `LocalJudge`: a model in this process, a `tolman.policy.judge.PolicyJudge`. No
torch before one is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from tolman.learn.config import Table, build, knob
from tolman.reward.judge import CachedJudge, Judge, Reply
from tolman.reward.judge_server import ServerJudge

if TYPE_CHECKING:
    from tolman.policy.policy import Policy


@dataclass(frozen=True)
class LocalJudge:
    """A model in this process that judges."""

    model: str = knob()
    """`starter`, a folder or a model name, as `tolman.policy.load.load_policy` takes it; never trained."""
    device: str = knob("")
    """Torch device; empty: the policy's. Weights are float32 on a CPU and bfloat16 elsewhere."""
    max_new_tokens: int = knob(64, low=1)
    """Of a reply."""
    max_prompt_tokens: int = knob(8192, low=1)
    """A longer prompt is not judged: no grade."""
    cache: str = knob("")
    """Folder where replies are kept for other processes and later runs; empty: in memory only."""


_LOCAL = tuple(item.name for item in fields(LocalJudge))
_SERVER = (*(item.name for item in fields(ServerJudge) if item.name != "sleep"), "cache")
_loaded: WeakValueDictionary[tuple[str, str], Policy] = WeakValueDictionary()
"""Judging models by name and device, held as long as a reward asks them."""


def with_judge(options: Table, device: str, load: bool) -> Table:
    """A reward's options, in them the judge itself where their table names a model.

    device: of the run. load: False checks the table and puts a judge there that is never asked. Rewards that
    name the same model on the same device share its weights. Raises ValueError naming a key that is unknown,
    missing, or of the other kind of judge; with load also for a model that cannot be loaded.
    """
    if "judge" not in options:
        return options
    table = options["judge"]
    if not isinstance(table, Mapping):
        raise ValueError(f"judge must be a table, got {table!r}")
    if "url" in table:
        _check_keys(table, _SERVER, _LOCAL, "of a model in this process, but judge.url names a server")
        return options
    if "model" not in table:
        raise ValueError(
            "judge.model is missing; give a model's name, or judge.url and a server's name for it"
        )
    _check_keys(table, _LOCAL, _SERVER, "of a server, but judge.url is missing")
    judge = build(LocalJudge, table, "judge")
    return options | {"judge": _make(judge, device) if load else _never_asked}


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], others: tuple[str, ...], why: str) -> None:
    for key in sorted(set(table) - set(known)):
        if key in others:
            raise ValueError(f"judge.{key} is an option {why}")
        raise ValueError(f"judge.{key} is not a known key; valid keys: {', '.join(known)}")


def _make(judge: LocalJudge, device: str) -> Judge:
    from tolman.learn.checkpoint import bit_sums
    from tolman.learn.processes import own_device
    from tolman.policy.judge import PolicyJudge

    policy = _frozen(judge.model, judge.device or own_device(device))
    local = PolicyJudge(policy, judge.max_new_tokens, judge.max_prompt_tokens)
    # a folder may hold other weights tomorrow, and their replies are others
    name = f"{local.name}, weights {bit_sums(policy.model.parameters())}"
    return CachedJudge(local, name, judge.cache or None)


def _frozen(model: str, device: str) -> Policy:
    """The model, loaded where nobody holds it, without a draw from the run's random generator."""
    import torch

    from tolman.policy.load import load_policy

    policy = _loaded.get((model, device))
    if policy is None:
        with torch.random.fork_rng():
            policy = load_policy(model, device=device)
        policy.model.requires_grad_(False).eval()
        _loaded[model, device] = policy
    return policy


def _never_asked(prompt: str) -> Reply:
    raise AssertionError("this judge was made to check a recipe")
