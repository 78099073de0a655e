"""A bonus for completions of a wanted length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward

Floats = npt.NDArray[np.float64]


def length(low: int, high: int, bonus: float = 1.0, *, count: Callable[[str], int]) -> Reward:
    """`bonus` for a completion of low..high tokens (both included), otherwise 0.

    count: the number of tokens of a text, e.g. `lambda text: len(tokenizer.encode(text))`; passed in,
    because a completion is text here. The published bonus looks at the whole group: that is `length_bonus_G`.
    Raises ValueError for 0 > low or low > high and for a bonus that is not finite.
    """
    _check(low, high, bonus)

    def grade(completion: str, question: Question) -> Graded:
        tokens = count(completion)
        return Graded(bonus if low <= tokens <= high else 0.0, f"{tokens} tokens, wanted {low} to {high}")

    return grade


def length_bonus_G(
    accuracy_G: npt.ArrayLike,
    lengths_G: npt.ArrayLike,
    low: int = 320,
    high: int = 512,
    bonus: float = 0.2,
    correct_above: float = 0.1,
    at_least: int = 2,
) -> Floats:
    """(G,) what to add to the rewards of a group: `bonus` to each correct completion of low..high tokens.

     A completion is correct where accuracy_G (G,) > correct_above (NaN is not); fewer than `at_least` of
     them and nobody gets anything. lengths_G (G,): tokens. Defaults are those of Video-R1 (arXiv 2503.21776
    ) and SpaceR (SG_RLVR_trainer.py l. 620-629), which test the accuracy before the
     temporal bonus and, in SpaceR, with the map bonus. Raises ValueError for shapes that differ and bad
     bounds.
    """
    _check(low, high, bonus)
    accuracies = np.asarray(accuracy_G, dtype=np.float64)
    lengths = np.asarray(lengths_G, dtype=np.float64)
    if accuracies.ndim != 1 or accuracies.shape != lengths.shape:
        raise ValueError(f"need accuracy (G,) and lengths (G,), got {accuracies.shape} and {lengths.shape}")
    correct_mask = accuracies > correct_above
    if correct_mask.sum() < at_least:
        return np.zeros_like(accuracies)
    return np.where(correct_mask & (lengths >= low) & (lengths <= high), bonus, 0.0)


def _check(low: int, high: int, bonus: float) -> None:
    if not 0 <= low <= high or not np.isfinite(bonus):
        raise ValueError(f"length needs 0 <= low <= high and a finite bonus, got {low}, {high}, {bonus}")
