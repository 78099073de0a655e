"""Rewards by the name a recipe uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tolman.reward.accuracy import accuracy
from tolman.reward.format import format
from tolman.reward.graded import Reward
from tolman.reward.length import length
from tolman.reward.map import cognitive_map, spacer_accuracy

Factory = Callable[..., Reward]


class _Registry(dict[str, Factory]):
    """A dict whose missing key is a ValueError that lists the names."""

    def __missing__(self, name: str) -> Factory:
        raise ValueError(f"no reward named {name!r}; choose from {', '.join(sorted(self))}")


def _checked(name: str, factory: Factory) -> Factory:
    """The factory, with unknown and missing options as ValueErrors that list the known ones."""
    signature = inspect.signature(factory)

    def make(**options: object) -> Reward:
        known = ", ".join(signature.parameters) or "none"
        try:
            signature.bind(**options)
        except TypeError as error:
            raise ValueError(f"reward {name!r}: {error}; its options are: {known}") from None
        return factory(**options)

    make.__doc__ = factory.__doc__
    return make


def _registry(**factories: Factory) -> _Registry:
    return _Registry({name: _checked(name, factory) for name, factory in factories.items()})


REWARDS: dict[str, Factory] = _registry(
    accuracy=accuracy,
    format=format,
    length=length,
    map=cognitive_map,
    spacer_accuracy=spacer_accuracy,
)
"""Name → factory taking keyword options, e.g. `REWARDS["accuracy"](rule="published")`."""
