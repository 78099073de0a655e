"""Machines that a run can be planned for, as published, and the share of that which this code reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Hardware:
    """A device.

    memory: GiB that a process can have of it. bfloat16, float32: operations a second of matrix products at
    best, without sparsity (a multiplication and an addition are two). bandwidth: bytes a second of its
    memory. is_gpu: whether host memory is apart from it.
    """

    name: str
    memory: float
    bfloat16: float
    float32: float
    bandwidth: float
    is_gpu: bool = True

    def peak(self, is_half: bool) -> float:
        """Operations a second in bfloat16, or in float32."""
        return self.bfloat16 if is_half else self.float32


HARDWARE: Mapping[str, Hardware] = {
    entry.name: entry
    for entry in (
        Hardware("h200", 139, 989e12, 67e12, 4.8e12),
        Hardware("h100", 79, 989e12, 67e12, 3.35e12),
        Hardware("a100-80", 79, 312e12, 19.5e12, 2.04e12),
        Hardware("a100-40", 39, 312e12, 19.5e12, 1.55e12),
        Hardware("l40s", 44, 362e12, 91.6e12, 0.864e12),
        Hardware("rtx4090", 23.5, 165e12, 82.6e12, 1.01e12),
        Hardware("cpu2", 16, 450e9, 209e9, 20e9, is_gpu=False),
    )
}
"""By name. GPUs: the makers' data sheets (float32 without TF32, torch's default), memory as torch reports it.
cpu2: two cores of a server CPU with AVX512-BF16, measured."""


@dataclass(frozen=True)
class Reached:
    """Shares of a peak and fixed costs that were measured (docs/plan.md says on what).

    text, tower, decode: (bfloat16, float32) shares of the peak that the loss of the language model and of the
    vision tower reach, and a decoding step that arithmetic bounds. recompute: how many times longer the tower
    takes with gradient checkpointing. layer: seconds of a layer's forward pass, however small: on a GPU, of
    launching its kernels one by one, which goes on beside the arithmetic; on a CPU they come on top. pair:
    seconds of a visible pair in a head and layer beyond its arithmetic. decode_layer: seconds of a layer in a
    decoding step (on a GPU in a CUDA graph) beyond reading its weights. copy: share of the bandwidth.
    """

    text: tuple[float, float]
    tower: tuple[float, float]
    decode: tuple[float, float]
    recompute: float
    layer: float
    pair: float
    decode_layer: float
    copy: float


_GPU = Reached((0.34, 0.5), (0.045, 0.25), (0.34, 0.5), 2.2, 1.4e-3, 0.0, 175e-6, 0.9)
_CPU = Reached((0.63, 0.74), (0.23, 0.38), (0.42, 0.5), 4 / 3, 2.1e-3, 4.2e-9, 5e-4, 0.75)


def reached(hardware: Hardware) -> Reached:
    """What was measured on hardware of this kind."""
    return _GPU if hardware.is_gpu else _CPU


def find_hardware(name: str) -> Hardware:
    """By name. Raises ValueError naming those there are."""
    if name not in HARDWARE:
        raise ValueError(f"no hardware {name!r}; known: {', '.join(HARDWARE)}")
    return HARDWARE[name]
