"""Runs on disks that are full, or may not be written."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.cli.exit_status import DONE, TRY_AGAIN, USAGE
from prag_lightning.cli.main import main
from tests.faults.conftest import NUM_PEOPLE
from tests.faults.runs import Runs, assert_same, small_files, stored, wait_for_adapters

# Room for settings and manifest, and for some adapters of 4.6 kB, but not for all.
SMALL = 40 * 1024


def mount(*words: str | Path) -> str:
    """Run ``mount`` and return what it complains of."""
    result = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    return result.stderr or result.stdout


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small file system in memory."""
    if shutil.which("mount") is None:
        pytest.skip("there is no command to mount a small file system")
    # Not below pytest's folder, which it would fail to clear if a mount were left behind.
    folder = Path(tempfile.mkdtemp(prefix="prag-disk-"))
    try:
        if problem := mount("-t", "tmpfs", "-o", f"size={SMALL}", "prag-test", folder):
            pytest.skip(f"no small file system can be mounted here: {problem.strip()}")
        yield folder
        # Lazily, for this process may still have a file of it open.
        subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        folder.rmdir()


def test_a_full_disk_stops_a_run_which_goes_on_when_there_is_room(
    runs: Runs, disk: Path, undisturbed: dict[str, Tensor]
) -> None:
    # All that the run writes is there. Without this it is refused before it begins.
    root, options = disk / "run", ["--adapter_writer.check_free_space", "false"]
    assert runs.status(root, 1, *options) == TRY_AGAIN
    assert f"{root}/adapters/writer-00000/000000." in runs.said
    assert "no room: " in runs.said
    assert "bytes are needed and 0 are free (No space left on device)" in runs.said
    assert "make room and start the same command again" in runs.said
    assert "Traceback" not in runs.said
    kept = stored(root / "adapters")
    assert 1 <= len(kept) < NUM_PEOPLE
    # Once more changes nothing.
    assert runs.status(root, 1, *options) == TRY_AGAIN
    assert_same(stored(root / "adapters"), kept, 0.0)
    assert mount("-o", f"remount,size={10 * SMALL}", disk) == ""
    assert runs.status(root, 1, *options) == DONE
    assert f"{NUM_PEOPLE} documents, {len(kept)} of them encoded before" in runs.said
    assert_same(stored(root / "adapters"), undisturbed, 0.0)


@pytest.mark.slow
def test_a_file_that_may_not_grow_stops_a_run_which_goes_on_when_it_may(
    runs: Runs, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    assert runs.status(tmp_path, trouble=partial(small_files, SMALL // 2)) == TRY_AGAIN
    assert "bytes are needed and" in runs.said
    assert "(File too large)" in runs.said
    kept = stored(tmp_path / "adapters")
    assert 1 <= len(kept) < NUM_PEOPLE
    assert runs.status(tmp_path) == DONE
    assert_same(stored(tmp_path / "adapters"), undisturbed, 0.0)


def test_a_run_whose_store_is_deleted_ends_at_its_next_adapter_in_one_line(
    runs: Runs, tmp_path: Path
) -> None:
    process = runs.start(tmp_path, 1, "--data.passes", "3")
    wait_for_adapters(tmp_path / "adapters", 1, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    shutil.rmtree(tmp_path / "adapters")
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert process.exitcode == TRY_AGAIN
    assert runs.said.splitlines()[-1].startswith(
        f"prag: {tmp_path}/adapters: this store was deleted"
    )
    assert "Traceback" not in runs.said
    assert not (tmp_path / "adapters").exists()


def test_a_store_on_a_disk_that_may_not_be_written_is_read_and_not_written(
    runs: Runs,
    tmp_path: Path,
    disk: Path,
    base_dir: Path,
    world: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert mount("-o", f"remount,size={10 * SMALL}", disk) == ""
    assert runs.status(tmp_path, 1, "--model.store", str(disk / "adapters")) == DONE
    written = stored(disk / "adapters")
    assert mount("-o", "remount,ro", disk) == ""
    options = [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)),
        *("--model.base", str(base_dir), "--model.lr", "0.003", "--model.max_new_tokens", "2"),
        *("--data.folder", str(world), "--model.store", str(disk / "adapters")),
    ]
    assert main(["test", *options, "--data.methods", '["own"]']) == DONE
    capfd.readouterr()
    assert main(["fit", *options]) == USAGE
    reason = "cannot be written (Read-only file system); give a folder that can"
    assert reason in capfd.readouterr().err
    with open_store(disk / "adapters", mode="read") as store:
        assert torch.equal(store.get_many(sorted(written)), torch.stack(list(written.values())))
