"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real input beside the project; tests that need it are skipped, visibly, when it is absent."""
    folder = Path(
        os.environ.get("TOLMAN_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set TOLMAN_SHARED_DATA)")
    return folder


# how long an example takes says something about the machine, not about the code
settings.register_profile("tolman", deadline=None)
settings.load_profile("tolman")
