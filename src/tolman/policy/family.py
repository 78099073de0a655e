"""The model classes a token tree fits, as data (importable without torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tolman.video.patches import QWEN2_5_VL, QWEN3_VL, PatchSpec

STEP_TOKENS = (12, 16)
"""Tokens in height and width of a grid step where a checkpoint says nothing: the aspect of ScanNet's and
ARKit's cameras, and with 14-pixel patches the longest side, 448, of SpaceR's evaluation."""


@dataclass(frozen=True)
class Family:
    """What is the same in all checkpoints of a model class of transformers.

    model_class, config_class, processor: names in transformers. video_processor: the one that a checkpoint
    has beside the image processor, or None where that one does both. patch_spec: pixels where a checkpoint
    does not say.
    """

    model_class: str
    config_class: str
    processor: str
    video_processor: str | None
    patch_spec: PatchSpec


FAMILIES: Mapping[str, Family] = {
    "qwen2_5_vl": Family(
        "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig", "Qwen2_5_VLProcessor", None, QWEN2_5_VL
    ),
    "qwen3_vl": Family(
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLConfig",
        "Qwen3VLProcessor",
        "Qwen3VLVideoProcessor",
        QWEN3_VL,
    ),
}
"""By the `model_type` in a checkpoint's `config.json`."""


def family_of(raw: Mapping[str, Any]) -> Family:
    """The family of a checkpoint's `config.json`. Raises ValueError naming its class and those that fit."""
    kind = raw.get("model_type")
    found = FAMILIES.get(kind) if isinstance(kind, str) else None
    if found is not None:
        return found
    classes = raw.get("architectures")
    name = f" ({', '.join(map(str, classes))})" if isinstance(classes, list) and classes else ""
    known = ", ".join(f"{key!r} ({family.model_class})" for key, family in FAMILIES.items())
    raise ValueError(
        f"model_type is {kind!r}{name}, which is not supported: a token tree has to give the model its "
        f"rotary positions, its attention mask and its clips' features, and knows how for {known}"
    )


def preprocessing(family: Family, spec: PatchSpec) -> dict[str, dict[str, Any]]:
    """File name → content that transformers and `PatchSpec.from_folder` read `spec` from.

    Where video has a processor of its own, with bounds for a whole clip, an image counts as the `temporal`
    frames it is repeated to.
    """
    image = {
        "processor_class": family.processor,
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": spec.patch,
        "merge_size": spec.merge,
        "temporal_patch_size": spec.temporal,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
    if family.video_processor is None:
        bounds = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels}
        return {"preprocessor_config.json": image | bounds}
    video = {key: value for key, value in image.items() if key != "image_processor_type"}
    video |= {"video_processor_type": family.video_processor, "size": _size(spec, 1)}
    return {
        "preprocessor_config.json": image | {"size": _size(spec, spec.temporal)},
        "video_preprocessor_config.json": video,
    }


def _size(spec: PatchSpec, share: int) -> dict[str, int]:
    """A share of the bounds, by the names that newer processors give them, though they are areas."""
    return {"shortest_edge": max(1, spec.min_pixels // share), "longest_edge": spec.max_pixels // share}
