"""Runs of ``prag fit`` that fill one store on a real S3 server."""

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from torch import Tensor

from prag_lightning.adapters.store import lease, object_writer
from prag_lightning.adapters.store.opening import open_store, verify_store
from tests.faults.runs import Runs, assert_same
from tests.faults.test_interruptions import trained
from tests.s3_server import BUCKET, s3_server

LIFE_SECONDS = 6.0


def in_s3(settings: Mapping[str, str], upload_seconds: float) -> None:
    """Find the server, upload often, and take a writer for dead soon."""
    os.environ.update(settings)
    object_writer.UPLOAD_SECONDS = upload_seconds
    lease.LIFE = timedelta(seconds=LIFE_SECONDS)
    lease._RENEWAL_SECONDS = LIFE_SECONDS / 5


def adapters_in(url: str) -> dict[str, Tensor]:
    try:
        with open_store(url, mode="read") as store:
            ids = sorted(store.ids())
            return dict(zip(ids, store.get_many(ids), strict=True))
    except FileNotFoundError:
        return {}


@pytest.mark.slow
def test_a_run_that_is_killed_is_gone_on_with_by_others_and_no_document_is_stored_twice(
    runs: Runs, undisturbed: dict[str, Tensor], tmp_path: Path
) -> None:
    url, roots = f"s3://{BUCKET}/store", [tmp_path / str(number) for number in range(3)]
    with s3_server(tmp_path / "s3") as settings:
        trouble = partial(in_s3, settings, 0.0)
        first = runs.start(roots[0], 1, "--model.store", url, trouble=trouble)
        while first.is_alive() and len(adapters_in(url)) < 2:
            time.sleep(0.01)
        first.kill()
        first.join()
        before = adapters_in(url)
        assert 2 <= len(before) < len(undisturbed)
        time.sleep(LIFE_SECONDS)
        trouble = partial(in_s3, settings, 30.0)
        others = [runs.start(root, 1, "--model.store", url, trouble=trouble) for root in roots[1:]]
        for process in others:
            process.join()
            assert process.exitcode == 0, runs.said
        found = adapters_in(url)
        assert_same(found, undisturbed, 0.0)
        # None that was uploaded, and none that another run had, was trained again.
        assert sorted([*before, *trained(roots[1]), *trained(roots[2])]) == sorted(found)
        assert not [damage for damage in verify_store(url) if not damage.harmless]
