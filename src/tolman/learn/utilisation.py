"""Model FLOP utilisation: the useful arithmetic of loss and gradients over what the machine can do meanwhile.

The definition of PaLM (arXiv 2204.02311, appendix B): nothing that is recomputed counts, nor does any pass
without gradient. Only the tokens of the trees count, each once, however often others would repeat them.
"""

from __future__ import annotations

from typing import Any

from tolman.learn.batching import ClipTree
from tolman.learn.hardware import find_hardware
from tolman.learn.plan.sizes import ModelSize
from tolman.learn.plan.work import text_flops, tower_flops
from tolman.learn.recipe import Recipe
from tolman.policy.policy import Policy


class FlopMeter:
    """Counts the arithmetic of a step's parts for a policy and the recipe's machine (`run.hardware`)."""

    def __init__(self, policy: Policy, recipe: Recipe) -> None:
        self.size = ModelSize.from_config(policy.model.config.to_dict(), policy.frames, policy.frame_size)
        train = recipe.model.train
        self.text_passes = 2 if train == "vision" or recipe.model.lora_rank else 3
        self.tower_passes = {"all": 3, "vision": 3, "text+merger": 1, "text": 0}[train]
        self.peak = 0.0
        if recipe.run.hardware:
            is_half = recipe.model.mixed or recipe.model.dtype == "bfloat16"
            self.peak = find_hardware(recipe.run.hardware).peak(is_half)

    def of(self, part: Any) -> dict[str, float]:
        """`flops` of loss and gradients of a part's trees; nothing for a part that is not made of trees."""
        trees = [clip for clip in getattr(part, "clips", ()) if isinstance(clip, ClipTree)]
        return {"flops": sum(map(self._of_tree, trees))} if trees else {}

    def utilisation(self, flops: float, seconds: float, processes: int) -> dict[str, float]:
        """`mfu` of so much arithmetic in so many seconds, where there was any and the machine is named."""
        if not flops or not self.peak:
            return {}
        return {"mfu": flops / seconds / (processes * self.peak)}

    def _of_tree(self, clip: ClipTree) -> float:
        """A node's tokens see the tokens above it and their elders in it; completions get logits."""
        nodes = clip.tree.nodes
        above: list[int] = []
        pairs = 0
        for node in nodes:
            own = len(node.token_ids)
            before = 0 if node.parent is None else above[node.parent]
            pairs += own * before + own * (own + 1) // 2
            above.append(before + own)
        flops = self.text_passes * text_flops(self.size, len(clip.tree), pairs, sum(clip.lengths))
        patch = self.size.vision.patch
        for shown in {id(node.clip): node.clip for node in nodes if node.clip is not None}.values():
            steps, rows, columns = (int(side) for side in shown.grid_thw.tolist())
            frame = rows * patch, columns * patch
            flops += self.tower_passes * tower_flops(self.size, steps * rows * columns, frame)
        return flops
