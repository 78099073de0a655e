"""The device that a recipe or a command names, checked before anything is loaded onto it."""

from __future__ import annotations

import torch


def find_device(name: torch.device | str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1` or another of torch's.

    Raises ValueError where torch knows no such device, or this build of it can use none on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"no device {str(name)!r}; torch knows cpu, cuda, cuda:1 and others") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        has = f"sees {count} GPU{'s' * (count > 1)}" if count else "sees no GPU"
        raise ValueError(f"device {str(device)!r}: torch {torch.__version__} {has} here; cpu is always there")
    return device
