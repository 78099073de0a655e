"""Shared fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a Ray cluster with two nodes of one CPU each, both on this machine."""
    from ray.cluster_utils import Cluster

    import tolman

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    places = [str(Path(__file__).parent), str(Path(tolman.__file__).parents[1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(places))  # of the actors' processes
        cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


# how long an example takes says something about the machine, not about the code
settings.register_profile("tolman", deadline=None)
settings.load_profile("tolman")
