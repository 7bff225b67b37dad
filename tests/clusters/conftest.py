"""A real local Ray cluster, and a double of ray."""

import sys
from collections.abc import Iterator

import pytest
import torch

from tests.clusters.ray_double import RayDouble


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RayDouble:
    """A double of ray, to which this process is connected."""
    double = RayDouble()
    monkeypatch.setitem(sys.modules, "ray", double)
    monkeypatch.setattr("prag_lightning.clusters.ray_cluster.find_spec", lambda name: True)
    # Its workers are in this process.
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    return double


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="needs ray (pip install 'prag-lightning[ray]')")
    while not ray.is_initialized():
        try:
            ray.init(
                address="local",
                num_cpus=2,
                object_store_memory=100 * 2**20,
                include_dashboard=False,
                log_to_driver=False,
            )
        except Exception as error:
            # It gives its processes 30 seconds, which a busy machine may not have.
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    yield
    ray.shutdown()
