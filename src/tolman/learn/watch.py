"""What a run should tell whoever waits for it."""

from __future__ import annotations

from collections.abc import Mapping

STEPS = 10


class CollapseWatch:
    """Notices when no group has a preference any more. steps: in a row before it is said; None: STEPS."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = STEPS if steps is None else steps
        self._streak = 0

    def see(self, metrics: Mapping[str, float]) -> str | None:
        """A step's metrics; returns what to warn of, once for each time that `steps` of them are full."""
        self._streak = self._streak + 1 if metrics.get("zero_signal") == 1 else 0
        if self._streak != self.steps:
            return None
        return (
            f"in the last {self.steps} steps every group's completions earned the same (zero_signal 1): "
            "nothing is learnt. See rollouts.jsonl; raise sampling.temperature or sampling.group, "
            "take questions that the policy sometimes answers, or add a reward with degrees"
        )
