"""Advantages: from the rewards of one group to what each completion's tokens are weighted with. Pure.

G: completions of one prompt. A reward that is NaN means "could not be graded": that completion leaves the
group (it neither moves the mean nor is trained on) and its advantage is NaN, so the caller can count and mask
it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def group_mean_std(rewards_G: npt.ArrayLike, eps: float = 1e-4) -> Floats:
    """(r - mean) / (std + eps) over one group, with the unbiased std (divided by G - 1).

    rewards_G: (G,). Returns (G,), NaN where the reward is NaN, 0 for a group with a single graded completion.
    GRPO as SpaceR and Video-R1 run it (SG_RLVR_trainer.py: torch's std, eps 1e-4).
    Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    centred_G = group_mean(rewards_G)
    graded = centred_G[~np.isnan(centred_G)]
    if graded.size < 2:
        return centred_G
    std = float(np.sqrt(np.square(graded).sum() / (graded.size - 1)))
    scaled_G: Floats = centred_G / (std + eps)
    return scaled_G


def group_mean(rewards_G: npt.ArrayLike) -> Floats:
    """r - mean over one group, without division by the spread (Dr. GRPO, arXiv 2503.20783).

    rewards_G: (G,). Returns (G,), NaN where the reward is NaN.
    Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    rewards_G = np.array(rewards_G, dtype=np.float64)
    if rewards_G.ndim != 1 or rewards_G.size == 0:
        raise ValueError(f"rewards of one group must have shape (G,), got {rewards_G.shape}")
    if np.isinf(rewards_G).any():
        raise ValueError(f"rewards must be finite or NaN (not graded), got {rewards_G.tolist()}")
    graded_mask_G = ~np.isnan(rewards_G)
    if not graded_mask_G.any():
        return rewards_G
    centred_G: Floats = rewards_G - rewards_G[graded_mask_G].mean()
    return centred_G


def has_signal(advantages_G: npt.ArrayLike) -> bool:
    """Whether any completion of the group would be pushed anywhere (some advantage is neither 0 nor NaN).

    Equal rewards whose mean is not exactly representable leave advantages near 1e-13: these count as none.
    """
    return bool((np.abs(np.nan_to_num(np.asarray(advantages_G, dtype=np.float64))) > 1e-9).any())
