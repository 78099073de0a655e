"""A policy's sizes as plain numbers, from a checkpoint's `config.json` alone, and how many weights they make.

Nothing is downloaded and no weight is read, so that a recipe can be planned before its model is at hand. No
torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tolman.policy.family import FAMILIES, STEP_TOKENS, family_of
from tolman.policy.load import DEFAULT_FRAMES, STARTER, read_json


@dataclass(frozen=True)
class TextSize:
    """The language model. qkv_bias: Qwen2.5's projections; qk_norm: Qwen3's norms of every head."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    qkv_bias: bool
    qk_norm: bool

    @property
    def query(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Width of all key heads; values are as wide."""
        return self.kv_heads * self.head_dim

    @property
    def layer_matrices(self) -> int:
        """Weights in a layer's matrices."""
        return self.hidden * (2 * self.query + 2 * self.key + 3 * self.intermediate)

    @property
    def head(self) -> int:
        """Weights of the output layer, which are the embedding's where they are tied."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        layer = self.layer_matrices + 2 * self.hidden
        layer += (self.query + 2 * self.key) * self.qkv_bias + 2 * self.head_dim * self.qk_norm
        return self.layers * layer + self.hidden + self.head * (1 if self.tied else 2)

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each of a layer's matrices."""
        hidden, wide = self.hidden, self.intermediate
        return {
            "q_proj": (hidden, self.query), "k_proj": (hidden, self.key), "v_proj": (hidden, self.key),
            "o_proj": (self.query, hidden),
            "gate_proj": (hidden, wide), "up_proj": (hidden, wide), "down_proj": (wide, hidden),
        }  # fmt: skip

    @property
    def packed_matrices(self) -> int:
        """Bytes of a layer's matrices in four bits (`tolman.policy.quantised`), as bitsandbytes has them.

        Two weights a byte, a byte of scale for every 64 of them, a float32 scale for every 256 of these, and
        their float32 mean. Tables of levels, 1.1 KiB a matrix, are left out.
        """
        found = 0
        for wide, high in self.widths.values():
            scales = math.ceil(wide * high / 64)
            found += math.ceil(wide * high / 2) + scales + 4 * math.ceil(scales / 256) + 4
        return found

    def adapters(self, rank: int, targets: Sequence[str]) -> int:
        """Weights of adapters of a rank on these matrices of every layer."""
        return rank * self.layers * sum(sum(self.widths[name]) for name in targets)


@dataclass(frozen=True)
class VisionSize:
    """The vision tower.

    gated: Qwen2.5's blocks (RMS norms, gated MLP); otherwise Qwen3's (layer norms, two matrices). window:
    pixels a side of local attention, 0 where every block sees the whole frame; full: blocks that do all the
    same. positions: learnt ones. deepstack: blocks whose output goes to the language model too.
    """

    depth: int
    hidden: int
    intermediate: int
    heads: int
    out: int
    patch: int
    merge: int
    temporal: int
    channels: int
    gated: bool
    window: int
    full: int
    positions: int
    deepstack: int

    @property
    def patch_values(self) -> int:
        """Pixel values in a patch."""
        return self.channels * self.temporal * self.patch**2

    @property
    def merged(self) -> int:
        """Width of a token's patches side by side."""
        return self.hidden * self.merge**2

    @property
    def block_matrices(self) -> int:
        """Weights in a block's matrices."""
        return self.hidden * (4 * self.hidden + (3 if self.gated else 2) * self.intermediate)

    @property
    def merger_matrices(self) -> int:
        """Weights in one merger's matrices."""
        return self.merged * (self.merged + self.out)

    @property
    def merger_parameters(self) -> int:
        """Weights of all mergers."""
        biases = self.merged + self.out
        norm = self.hidden * (1 if self.gated else 2)
        return (
            (1 + self.deepstack) * (self.merger_matrices + biases) + norm + 2 * self.merged * self.deepstack
        )

    @property
    def parameters(self) -> int:
        """All weights, mergers included."""
        attention = 4 * self.hidden
        mlp = (2 if self.gated else 1) * self.intermediate + self.hidden
        norms = (2 if self.gated else 4) * self.hidden
        blocks = self.depth * (self.block_matrices + attention + mlp + norms)
        embedding = (
            self.hidden * (self.patch_values + (0 if self.gated else 1)) + self.positions * self.hidden
        )
        return blocks + embedding + self.merger_parameters


@dataclass(frozen=True)
class ModelSize:
    """A policy: both towers, and the frames it is shown unless the recipe says otherwise."""

    text: TextSize
    vision: VisionSize
    frames: int
    frame_size: tuple[int, int]
    says_times: bool
    """Whether every grid step has its time in words (Qwen3-VL)."""

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.text.parameters + self.vision.parameters

    def trained(self, train: str) -> int:
        """Weights that learn under a recipe's `model.train`."""
        merger = self.vision.merger_parameters
        return {
            "all": self.parameters,
            "text": self.text.parameters,
            "vision": self.vision.parameters,
            "text+merger": self.text.parameters + merger,
        }[train]

    @classmethod
    def from_config(
        cls, raw: Mapping[str, Any], frames: int = 0, frame_size: tuple[int, int] | None = None
    ) -> ModelSize:
        """From a checkpoint's `config.json`; one of transformers 4 may have the language model's keys on top.

        frames, frame_size: the policy's own; 0 and None for the defaults of `load_policy`. Raises ValueError
        where a key is missing or the class is none of `family.FAMILIES`.
        """
        family_of(raw)
        gated = raw["model_type"] == "qwen2_5_vl"
        text = _text(raw.get("text_config") or raw, raw, gated)
        vision = _vision(raw.get("vision_config") or {}, gated)
        factor = vision.patch * vision.merge
        size = frame_size or (STEP_TOKENS[0] * factor, STEP_TOKENS[1] * factor)
        return cls(text, vision, frames or DEFAULT_FRAMES, size, not gated)


def _text(config: Mapping[str, Any], raw: Mapping[str, Any], gated: bool) -> TextSize:
    hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads")
    return TextSize(
        vocabulary=_number(config, "vocab_size"),
        hidden=hidden,
        intermediate=_number(config, "intermediate_size"),
        layers=_number(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads"),
        head_dim=hidden // heads if gated else _number(config, "head_dim"),
        tied=bool(raw.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        qkv_bias=gated,
        qk_norm=not gated,
    )


def _vision(config: Mapping[str, Any], gated: bool) -> VisionSize:
    depth = _number(config, "depth")
    return VisionSize(
        depth=depth,
        hidden=_number(config, "hidden_size"),
        intermediate=_number(config, "intermediate_size"),
        heads=_number(config, "num_heads"),
        out=_number(config, "out_hidden_size"),
        patch=_number(config, "patch_size"),
        merge=_number(config, "spatial_merge_size"),
        temporal=_number(config, "temporal_patch_size"),
        channels=int(config.get("in_channels", 3)),
        gated=gated,
        window=_number(config, "window_size") if gated else 0,
        full=len(set(config["fullatt_block_indexes"]) & set(range(depth))) if gated else depth,
        positions=0 if gated else _number(config, "num_position_embeddings"),
        deepstack=0 if gated else len(config["deepstack_visual_indexes"]),
    )


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise ValueError(f"the model's configuration needs a positive number for {key}, got {value!r}")
    return value


def model_size(name: str) -> ModelSize:
    """The sizes of `model.path`: `starter`, `smol`, a checkpoint folder, or one of `KNOWN`.

    Raises ValueError where there is no such folder, naming what is known without one.
    """
    if name in KNOWN:
        return ModelSize.from_config(KNOWN[name])
    if name == "smol":
        return ModelSize.from_config(_SMOL, 16, (112, 112))
    folder = STARTER if name == "starter" else Path(name)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"no checkpoint at {name}, and its sizes are not known by heart; plan it with another one's: "
            f"--model.path followed by starter, smol, {', '.join(KNOWN)} or a checkpoint folder"
        )
    settings = read_json(folder / "tolman.json") if (folder / "tolman.json").is_file() else {}
    size = settings.get("frame_size")
    try:
        raw = read_json(folder / "config.json")
        return ModelSize.from_config(
            raw, int(settings.get("frames", 0)), (int(size[0]), int(size[1])) if size else None
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _config(kind: str, text: tuple[int, ...], tied: bool, vision: Mapping[str, Any]) -> dict[str, Any]:
    """text: vocabulary, hidden, intermediate, layers, heads, key/value heads."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = dict(zip((*names, "num_key_value_heads"), text, strict=True)) | {"head_dim": 128}
    common = {"spatial_merge_size": 2, "temporal_patch_size": 2, "num_heads": 16, "out_hidden_size": text[1]}
    assert kind in FAMILIES
    return {
        "model_type": kind,
        "text_config": sizes,
        "vision_config": common | dict(vision),
        "tie_word_embeddings": tied,
    }


_QWEN2_5_TOWER = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
_QWEN3_TOWER = {"patch_size": 16, "num_position_embeddings": 2304}
_QWEN3_SMALL = _QWEN3_TOWER | {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip
_QWEN3_LARGE = _QWEN3_TOWER | {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24],
}  # fmt: skip
_SMOL = _config(
    "qwen2_5_vl",
    (49_152, 576, 1536, 30, 9, 3),
    True,
    {
        "depth": 4, "hidden_size": 128, "intermediate_size": 384, "num_heads": 4, "patch_size": 14,
        "window_size": 112, "fullatt_block_indexes": [0, 1, 2, 3],
    },
)  # fmt: skip

KNOWN: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": _config(
        "qwen2_5_vl", (151_936, 2048, 11_008, 36, 16, 2), True, _QWEN2_5_TOWER
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": _config(
        "qwen2_5_vl", (152_064, 3584, 18_944, 28, 28, 4), False, _QWEN2_5_TOWER
    ),
    "Qwen/Qwen3-VL-2B-Instruct": _config("qwen3_vl", (151_936, 2048, 6144, 28, 16, 8), True, _QWEN3_SMALL),
    "Qwen/Qwen3-VL-4B-Instruct": _config("qwen3_vl", (151_936, 2560, 9728, 36, 32, 8), True, _QWEN3_SMALL),
    "Qwen/Qwen3-VL-8B-Instruct": _config("qwen3_vl", (151_936, 4096, 12_288, 36, 32, 8), False, _QWEN3_LARGE),
}
"""Published checkpoints by hub name: what their `config.json` says, as far as sizes go. The numbers of
weights that follow are those of the published files (3,754,622,976, 8,292,166,656, 2,127,532,032,
4,437,815,808 and 8,767,123,696)."""
