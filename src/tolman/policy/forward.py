"""Run a policy's towers: clips to features, packed tokens to hidden states, hidden states to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .attention import tree_attention, use_tree_attention
from .tree import ClipInput, Packed


def clip_features(model: Any, clips: Sequence[ClipInput]) -> list[Tensor]:
    """The vision tower's output for each clip, with gradients; one call for all of them.

    (tokens, hidden), or (tokens, (1 + n) hidden) where the first n layers of the language model are given
    features of their own to add (Qwen3-VL's deepstack). A clip that brings its features is not seen again.
    """
    unseen = [clip for clip in clips if clip.features is None]
    seen = iter(_see(model, unseen) if unseen else ())
    return [next(seen) if clip.features is None else clip.features.to(model.device) for clip in clips]


def _see(model: Any, clips: Sequence[ClipInput]) -> list[Tensor]:
    """Run the vision tower over clips."""
    use_tree_attention(model.model)
    pixels = torch.cat([clip.pixels for clip in clips])
    grid_thw = torch.stack([clip.grid_thw for clip in clips])
    output = model.model.get_video_features(pixels.to(model.device), grid_thw.to(model.device))
    levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
    return [torch.cat(parts, dim=-1) for parts in zip(*levels, strict=True)]


def embed(
    model: Any, packed: Packed, features: Sequence[Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """(B, L, hidden) input embeddings on the model's device, clip features in their places; and for each of
    the first layers (clip tokens, hidden) to add behind it, in order of the tokens.

    features: `clip_features` of `packed.clips`, computed here where None. The places are those of
    `mm_token_type_ids`, so a placeholder that a policy sampled stays an ordinary token (transformers' own
    forward would look for a clip for it and fail).
    """
    embeddings: Tensor = model.get_input_embeddings()(packed.input_ids.to(model.device))
    if not packed.clips:
        return embeddings, []
    if features is None:
        features = clip_features(model, packed.clips)
    values = torch.cat([features[k] for k in packed.clip_order]).to(embeddings.dtype)
    shown, *deeper = torch.split(values, embeddings.shape[-1], dim=-1)
    is_clip = (packed.mm_token_type_ids == 2)[..., None].to(model.device)
    return embeddings.masked_scatter(is_clip, shown), deeper


def prepared_mask(model: Any, mask: Any) -> Any:
    """A finished attention mask, or None, in the form the language model takes it: Qwen2.5-VL's by kind of
    layer. Qwen3-VL's would make a causal one of None, so it gets one in name only."""
    if model.config.model_type == "qwen2_5_vl":
        return {"full_attention": mask}
    return torch.ones((1, 1, 1, 1), dtype=torch.bool, device=model.device) if mask is None else mask


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
    use_tree_attention(model.model)
    attention = tree_attention(packed, model.device)
    embeddings, deeper = embed(model, packed, features)
    extra: dict[str, Any] = {}
    if deeper:
        is_clip = (packed.mm_token_type_ids == 2).to(model.device)
        extra = {"visual_pos_masks": is_clip, "deepstack_visual_embeds": deeper}
    output = model.model.language_model(
        inputs_embeds=embeddings,
        position_ids=packed.position_ids.to(model.device),
        attention_mask=prepared_mask(model, attention.mask),
        tree_segments=attention.segments,
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=layer is not None,
        **extra,
    )
    states: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
    return states


def logits(model: Any, states: Tensor) -> Tensor:
    """(..., vocabulary) float32 logits of (..., hidden) states."""
    scores: Tensor = model.get_output_embeddings()(states)
    return scores.float()
