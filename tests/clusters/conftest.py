"""A real local Ray cluster."""

from collections.abc import Iterator

import pytest


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
