"""Clips as the policy takes them; those of a frozen vision tower as its features, computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import torch

from tolman.learn.clips import ClipStore
from tolman.policy.forward import clip_features
from tolman.policy.policy import Policy
from tolman.policy.prompt import encode_clip
from tolman.policy.tree import ClipInput
from tolman.video.cache import ClipKey, clip_key


class ClipEncoder:
    """Reads clips for a policy.

    While no weight of the vision tower learns, a clip comes with the tower's features in place of its pixels:
    rollout, policy and a reference copied from it all use them, and so do later epochs while they are held,
    without decoding the file again. limit_bytes: bound on the features held in main memory; the least
    recently used go first.
    """

    def __init__(self, policy: Policy, store: ClipStore, limit_bytes: int) -> None:
        self.policy, self.store, self.limit_bytes = policy, store, limit_bytes
        self.held_bytes = 0
        self._held: OrderedDict[tuple[ClipKey, str], ClipInput] = OrderedDict()
        self._digest: tuple[tuple[tuple[int, int], ...], str] = ((), "")

    def read(self, file: Path) -> ClipInput:
        """The clip. Raises tolman.video's ClipError where it cannot be read."""
        if not self._is_frozen():
            return self._encode(file)
        key = clip_key(file, self.store.frames, None, self.store.size), self._tower_digest()
        clip = self._held.pop(key, None)
        if clip is None:
            clip = self.see(self._encode(file))
            self.held_bytes += _size(clip)
        self._held[key] = clip
        while self.held_bytes > self.limit_bytes:
            _, oldest = self._held.popitem(last=False)
            self.held_bytes -= _size(oldest)
        return clip

    def _encode(self, file: Path) -> ClipInput:
        frames = self.store.get(file)
        return encode_clip(self.policy, frames.rgb_THWC, frames.times_T)

    @torch.no_grad()
    def see(self, clip: ClipInput) -> ClipInput:
        """A clip from elsewhere, with features in place of pixels if the tower is frozen; it is not held.

        The tower sees it alone, so that the features do not depend on what else a step draws.
        """
        if not self._is_frozen():
            return clip
        [features] = clip_features(self.policy.model, [clip])
        return replace(clip, pixels=clip.pixels[:0].clone(), features=features.to("cpu"))

    def _is_frozen(self) -> bool:
        return not any(weight.requires_grad for weight in self.policy.model.model.visual.parameters())

    def _tower_digest(self) -> str:
        """`tower_digest`, computed again only when a weight was written to."""
        weights = self.policy.model.model.visual.parameters()
        versions = tuple((id(weight), weight._version) for weight in weights)
        if versions != self._digest[0]:
            self._digest = (versions, tower_digest(self.policy))
        return self._digest[1]


def tower_digest(policy: Policy) -> str:
    """SHA-256 of the vision tower's weights and of how frames become patches, in hexadecimal."""
    digest = hashlib.sha256(repr((policy.patch_spec, policy.frame_size)).encode())
    for name, weight in policy.model.model.visual.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _size(clip: ClipInput) -> int:
    assert clip.features is not None
    return clip.features.nbytes
