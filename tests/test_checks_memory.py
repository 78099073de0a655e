"""What checks/memory.py calls flat."""

from __future__ import annotations

import pytest

from memory import LONG, resident, verdict


def test_caches_that_fill_at_first_do_not_count() -> None:
    held = [100.0 + k for k in range(20)] + [120.0] * 80
    assert verdict(held, allow=64) == (0.0, 4.0, True)


def test_a_leak_grows() -> None:
    # 0.1 MiB a step: of steps 20 to 99 the first twenty have the median 29.5, the last twenty 89.5
    found = verdict([100.0 + 0.1 * k for k in range(100)], allow=64)
    assert found.growth == pytest.approx(6.0)
    assert not found.flat


def test_what_is_allowed_goes_by_the_steps() -> None:
    assert verdict([100.0] * LONG, allow=64).allowed == 64
    assert verdict([100.0] * (LONG // 2), allow=64).allowed == 32
    assert verdict([100.0] * (3 * LONG), allow=64).allowed == 64


def test_one_peak_is_no_growth() -> None:
    assert verdict([100.0] * 90 + [900.0] + [100.0] * 9, allow=64).flat


def test_too_few_steps_say_nothing() -> None:
    with pytest.raises(ValueError, match="19 steps are too few"):
        verdict([100.0] * 19, allow=64)


def test_resident_memory_is_this_process() -> None:
    before = resident()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * (len(block) // 4096)
    assert resident() - before > 48
