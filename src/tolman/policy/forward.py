"""Run a policy's towers: clips to features, packed tokens to hidden states, hidden states to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .tree import ClipInput, Packed


def clip_features(model: Any, clips: Sequence[ClipInput]) -> list[Tensor]:
    """The vision tower's output for each clip, (tokens, hidden), with gradients; one call for all of them."""
    if not clips:
        return []
    return _see(
        model, torch.cat([clip.pixels for clip in clips]), torch.stack([clip.grid_thw for clip in clips])
    )


def _see(model: Any, pixels: Tensor, grid_thw: Tensor) -> list[Tensor]:
    """Features of the clips that (patches, D) pixels and (clips, 3) grids describe."""
    output = model.model.get_video_features(pixels.to(model.device), grid_thw.to(model.device))
    return list(output.pooler_output)


def embed(model: Any, packed: Packed, features: Sequence[Tensor] | None = None) -> Tensor:
    """(B, L, hidden) input embeddings on the model's device, clip features in their places.

    features: `clip_features` of `packed.clips`, computed here where None. The places are those of
    `mm_token_type_ids`, so a placeholder that a policy sampled stays an ordinary token (transformers' own
    forward would look for a clip for it and fail).
    """
    embeddings: Tensor = model.get_input_embeddings()(packed.input_ids.to(model.device))
    if packed.pixel_values_videos is None or packed.video_grid_thw is None:
        return embeddings
    if features is None:
        features = _see(model, packed.pixel_values_videos, packed.video_grid_thw)
    values = torch.cat([features[k] for k in packed.clip_order]).to(embeddings.dtype)
    is_clip = (packed.mm_token_type_ids == 2)[..., None].to(model.device)
    return embeddings.masked_scatter(is_clip, values)


def hidden_states(
    model: Any,
    packed: Packed,
    features: Sequence[Tensor] | None = None,
    cache: Any = None,
    layer: int | None = None,
) -> Tensor:
    """(B, L, hidden) last hidden states of a packed batch, on the model's device.

    features: as in `embed`. cache: any object with `update(keys, values, layer)`, called once a layer. layer:
    the states after this many layers instead of after the last one and its norm.
    """
    output = model.model.language_model(
        inputs_embeds=embed(model, packed, features),
        position_ids=packed.position_ids.to(model.device),
        attention_mask={"full_attention": packed.attention_mask.to(model.device)},
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=layer is not None,
    )
    states: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
    return states


def logits(model: Any, states: Tensor) -> Tensor:
    """(..., vocabulary) float32 logits of (..., hidden) states."""
    scores: Tensor = model.get_output_embeddings()(states)
    return scores.float()
