"""Teach a fresh policy to see before it learns to speak: dense, exact labels for every part of every frame.

From answers alone a small vision tower hardly learns to see. The renderer knows which item covers which part
of a frame and where that item stands in the room, so every vision token can be taught

* by a linear head on the tower's output: which categories it shows, and which have their middle in it;
* by linear heads on the language model's hidden state at that token, half-way up its layers: in which cell of
  the room's map (x and y) the item it shows stands, which takes the camera's path so far, and that item's
  category. Half-way, because text can only look up what earlier layers than its own have worked out.

No text is decoded, so a clip costs only its own tokens. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tolman.data.views import TokenLabels, read_views, token_labels
from tolman.learn.clips import ClipStore
from tolman.learn.corpus import Corpus, draw
from tolman.learn.objective import Batch, LossOutput, Skipped
from tolman.learn.processes import current
from tolman.learn.recipe import Recipe
from tolman.policy.forward import clip_features, hidden_states
from tolman.policy.policy import Policy
from tolman.policy.prompt import encode_clip, opening_ids
from tolman.policy.tree import ClipInput, TokenTree, pack
from tolman.scenes.furniture import CATALOGUE
from tolman.video.errors import ClipError

CATEGORIES = tuple(sorted(CATALOGUE))
GRID = 10
LONGEST = 32
"""Most steps, rows and columns of tokens."""


class DensePart(NamedTuple):
    """Clips that go through the model together, their labels, and the whole step's vision tokens and those of
    them that show an item."""

    clips: Sequence[ClipInput]
    labels: Sequence[TokenLabels]
    tokens: int
    items: int


class Dense:
    """The warm-up objective; data: a folder made by `tolman data build --views`.

    Raises ValueError for `batch.questions_per_clip`, which it would ignore.
    """

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        if (asked := recipe.batch.questions_per_clip) != 1:
            raise ValueError(
                f"batch.questions_per_clip is {asked}, but objective 'dense' asks none; remove it"
            )
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        hidden = policy.model.get_input_embeddings().weight.shape[1]
        outputs = {"shown": 2 * len(CATEGORIES), "placed": 2 * GRID + len(CATEGORIES), "where": 3 * LONGEST}
        heads: dict[str, nn.Module] = {name: nn.Linear(hidden, size) for name, size in outputs.items()}
        heads["norm"] = nn.LayerNorm(hidden, elementwise_affine=False)
        self.modules: Mapping[str, nn.Module] = {
            f"dense_{name}": head.to(policy.device) for name, head in heads.items()
        }
        self.state: dict[str, Any] = {}
        frames = recipe.data.frames or policy.frames
        self.store = ClipStore(frames, policy.frame_size, recipe.data.cache_mb << 20, recipe.data.isolate)
        self.folder = Path(recipe.data.clips or recipe.data.path)
        self.placed_weight = float(recipe.objective.options.get("placed_weight", 1.0))

    def close(self) -> None:
        """Nothing to let go of."""

    def batch(self, step: int) -> Batch:
        """Read the step's clips and their labels."""
        size = self.recipe.batch
        drawn = draw(self.corpus.training, self.recipe.run.seed, step, size.clips, 1)
        clips, labels, skipped = [], [], []
        for at, (clip, _) in current().share(drawn):
            try:
                shot = self.store.get(clip.file)
            except ClipError as error:
                skipped.append((at, Skipped(str(clip.file), error.reason)))
                continue
            encoded = encode_clip(self.policy, shot.rgb_THWC, shot.times_T)
            clips.append(encoded)
            labels.append(self._labels(clip.file.stem, encoded))
        masks = current().joined([entry.item_mask for entry in labels])
        tokens, items = sum(map(len, masks)), int(sum(mask.sum() for mask in masks))
        step_size = size.micro_clips or max(len(clips), 1)
        parts = [
            DensePart(clips[at : at + step_size], labels[at : at + step_size], tokens, items)
            for at in range(0, len(clips), step_size)
        ]
        return Batch(parts, samples=len(masks), skipped=current().in_order(skipped))

    def _labels(self, name: str, clip: ClipInput) -> TokenLabels:
        merge = self.policy.patch_spec.merge
        steps, height, width = (int(n) for n in clip.grid_thw)
        views = read_views(self.folder / "views" / f"{name}.npz")
        return token_labels(views, CATEGORIES, (steps, height // merge, width // merge))

    def loss(self, part: DensePart) -> LossOutput:
        """The part's share of the heads' losses, averaged over the step's tokens."""
        features = clip_features(self.policy.model, part.clips)
        shown = self._shown_loss(torch.cat(features), part)
        placed, hits = self._placed_loss(features, part)
        loss = shown + self.placed_weight * placed
        metrics = {"loss_shown": float(shown.detach()), "loss_placed": float(placed.detach())}
        tokens = sum(len(entry) for entry in features)
        return LossOutput(loss, metrics | {"placed_accuracy": hits}, tokens)

    def _shown_loss(self, features: Tensor, part: DensePart) -> Tensor:
        wanted = np.concatenate(
            [np.concatenate([entry.shown, entry.middle], axis=1) for entry in part.labels]
        )
        head = self.modules["dense_shown"]
        scores = head(features[:, : head.in_features].float())  # Qwen3-VL's deepstack features lie behind
        target = torch.from_numpy(wanted).to(scores)
        weight = torch.tensor(4.0, device=scores.device)  # most categories are absent from most tokens
        total = F.binary_cross_entropy_with_logits(scores, target, pos_weight=weight, reduction="sum")
        return total * (20.0 / (part.tokens * target.shape[1]))

    def _placed_loss(self, features: Sequence[Tensor], part: DensePart) -> tuple[Tensor, float]:
        trees = []
        for clip in part.clips:
            tree = TokenTree()
            tree.add(opening_ids(self.policy, clip), clip=clip)
            trees.append(tree)
        packed = pack(trees, self.policy.pad_id, self.policy.video_tokens).to(self.policy.device)
        half = self.policy.model.config.text_config.num_hidden_layers // 2
        states = hidden_states(self.policy.model, packed, features, layer=half)
        states = self.modules["dense_norm"](states.float())
        states = states[packed.mm_token_type_ids == 2]
        where = self._where_loss(states, part)
        scores = self.modules["dense_placed"](states)
        has = np.concatenate([entry.item_mask for entry in part.labels])
        if not has.any():
            return where, 0.0
        mask = torch.from_numpy(has).to(scores.device)
        cells = torch.from_numpy(np.concatenate([entry.cell for entry in part.labels])).to(scores.device)[
            mask
        ]
        kinds = torch.from_numpy(np.concatenate([entry.kind for entry in part.labels])).to(scores.device)[
            mask
        ]
        x, y, kind = scores[mask].split([GRID, GRID, len(CATEGORIES)], dim=1)
        wanted = ((x, cells[:, 0]), (y, cells[:, 1]), (kind, kinds))
        loss = torch.stack([F.cross_entropy(*pair, reduction="sum") for pair in wanted]).sum() / part.items
        right = (x.argmax(1) == cells[:, 0]) & (y.argmax(1) == cells[:, 1])
        return loss + where, float(right.float().sum()) / part.items

    def _where_loss(self, states: Tensor, part: DensePart) -> Tensor:
        """Of each token its step, row and column: the language model has to read them off its rotary
        positions before it can tell where in the room anything is."""
        merge = self.policy.patch_spec.merge
        places = [
            torch.cartesian_prod(torch.arange(t), torch.arange(h // merge), torch.arange(w // merge))
            for t, h, w in (clip.grid_thw.tolist() for clip in part.clips)
        ]
        wanted = torch.cat(places).to(states.device)
        if int(wanted.max()) >= LONGEST:
            raise ValueError(
                f"a clip has {int(wanted.max()) + 1} steps, rows or columns of tokens; the warm-up takes "
                f"{LONGEST} at most: show fewer frames or smaller ones"
            )
        scores = self.modules["dense_where"](states).split(LONGEST, dim=1)
        losses = [F.cross_entropy(axis, wanted[:, k], reduction="sum") for k, axis in enumerate(scores)]
        return torch.stack(losses).sum() / part.tokens


def make_dense(recipe: Recipe, policy: Policy, corpus: Corpus) -> Dense:
    """The factory the registry names."""
    return Dense(recipe, policy, corpus)
