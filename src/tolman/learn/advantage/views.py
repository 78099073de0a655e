"""Groups in pairs: a clip and its mirror image, whose answers must fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tolman.learn.advantage.base import Advantage, Floats, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob


def view_penalty(correctness_G: Floats, other_G: Floats, eta: float, threshold: float) -> Floats:
    """(G,) what view inconsistency costs the completions of one of two views.

    delta: difference of the two views' mean correctness. In the better view every completion above
    `threshold` pays eta * |delta|; in the other one, and where nothing was graded, nobody does.
    """
    if np.isnan(correctness_G).all() or np.isnan(other_G).all():
        return np.zeros(len(correctness_G))
    delta = float(np.nanmean(correctness_G) - np.nanmean(other_G))
    return np.where((delta > 0) & (correctness_G > threshold), eta * abs(delta), 0.0)


@dataclass(frozen=True)
class ViewConsistent(Advantage):
    """Spatial-GRPO (SVQA-R1, arXiv 2506.01371): both views are sampled, the better one pays `view_penalty`,
    then GRPO in each group; the loss is over both groups.

    From somebody else's note, the authors' code was not to be had: the constants are the note's, and whether
    the std is taken over one view or over both is our reading. The penalty is affine in 0/1 correctness, so
    the std undoes it there as long as eta * |delta| < 1; it acts on graded rewards.
    """

    mirrored: ClassVar[bool] = True
    of: tuple[str, ...] = knob()
    """Names of the rewards whose sum is the correctness (the paper's semantic reward)."""
    eta: float = knob(1.0, low=0)
    """Weight of the penalty."""
    threshold: float = knob(0.5)
    """Correctness above which a completion pays."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    @property
    def names(self) -> tuple[str, ...]:
        """The correctness."""
        return self.of

    def __call__(self, groups: Sequence[RewardedGroup]) -> list[Floats]:
        """(G,) per group."""
        advantages = []
        for group in groups:
            assert group.pair is not None
            own_G, other_G = group.total(self.of), groups[group.pair].total(self.of)
            penalty_G = view_penalty(own_G, other_G, self.eta, self.threshold)
            advantages.append(group_mean_std(group.rewards_G - penalty_G, self.eps))
        return advantages
