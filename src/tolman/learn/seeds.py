"""Random streams as pure functions of (seed, step, purpose), so that a resumed run draws what it would have
drawn.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, step: int, purpose: str) -> int:
    """A 63-bit seed that differs for every seed, step and purpose."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, step: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """A torch generator on `device` at the start of the stream."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, step, purpose))
