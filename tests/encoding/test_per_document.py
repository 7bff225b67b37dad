"""Several processes, each with documents of its own, against one process with all of them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from prag_lightning.adapters.store.lock import living_writers
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Document, Question, read_records, write_records
from prag_lightning.encoding.per_document import WaitingLauncher, current_run_id, end_with_parent
from prag_lightning.evaluation.scores import Prediction


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=6)
    return folder


def options(base_dir: Path, world: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "2", "--data.folder", str(world)),
        *("--model.lr", "0.003", "--model.max_new_tokens", "2"),
    ]


Launcher = Literal["torchrun", "torchrun on nodes", "slurm on nodes"]


def launched_by(launcher: Launcher, rank: int, num_processes: int) -> dict[str, str]:
    """What a launcher tells a process; on nodes there is one process on each."""
    if launcher == "slurm on nodes":
        return {
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_NAME": "fit",
            "SLURM_NTASKS": str(num_processes),
            "SLURM_NNODES": str(num_processes),
            "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": str(num_processes),
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(rank),
            "SLURM_NODELIST": "127.0.0.1",
        }
    nodes = launcher == "torchrun on nodes"
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": str(rank if nodes else 0),
        "RANK": str(rank),
        "LOCAL_RANK": str(0 if nodes else rank),
        "LOCAL_WORLD_SIZE": str(1 if nodes else num_processes),
        "WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        # Of no port: nobody listens. It names the run.
        "MASTER_PORT": str(os.getppid()),
    }


def run_rank(
    rank: int, num_processes: int, launcher: Launcher, words: Sequence[str], log: Path
) -> None:
    """Run one process as a launcher would start it."""
    torch.set_num_threads(1)
    os.environ.update(launched_by(launcher, rank, num_processes))
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.exit(main(words))


def run(
    context: ForkServerContext,
    words: Sequence[str],
    log: Path,
    num_processes: int = 2,
    launcher: Launcher = "torchrun",
    told: bool = True,
) -> str:
    """Run a command in several processes, all of which must succeed, and return what they said.

    Args:
        context: Makes the processes.
        words: The command.
        log: Where they write.
        num_processes: How many there are.
        launcher: What seems to start them.
        told: Whether the Trainer is told how many there are.
    """
    devices, nodes = (num_processes, 1) if launcher == "torchrun" else (1, num_processes)
    strategy = [
        *("--trainer.strategy", "per_document"),
        *("--trainer.devices", str(devices), "--trainer.num_nodes", str(nodes)),
    ]
    strategy = strategy if told else []
    ranks = [
        context.Process(
            target=run_rank, args=(rank, num_processes, launcher, [*words, *strategy], log)
        )
        for rank in range(num_processes)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    assert [process.exitcode for process in ranks] == [0] * num_processes, log.read_text()
    return log.read_text()


def adapters(root: Path) -> dict[str, Tensor]:
    with open_store(str(root / "adapters"), mode="read") as store:
        ids = sorted(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


def kilobytes_to_come(said: str) -> list[float]:
    """What each process says that its adapters will take."""
    return [float(size) for size in re.findall(r"adapters to come: ([\d.]+) kB", said)]


@pytest.mark.parametrize("quantization", ["null", pytest.param("nf4", marks=pytest.mark.slow)])
def test_two_processes_give_the_adapters_and_the_scores_of_one(
    processes: ForkServerContext,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    quantization: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    more = ["--model.quantization", quantization, "--model.dtype", "float32"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["fit", *options(base_dir, world, one), *more]) == 0
    [of_all] = kilobytes_to_come(capfd.readouterr().out)
    said = run(processes, ["fit", *options(base_dir, world, two), *more], tmp_path / "log")
    # The documents do not divide evenly, so neither did the work.
    assert "process 0: 2 of 2" in said
    assert "process 1: 4 of 4" in said
    assert sum(kilobytes_to_come(said)) == pytest.approx(of_all, abs=0.11)
    expected, found = adapters(one), adapters(two)
    assert found.keys() == expected.keys()
    for document_id, row in expected.items():
        torch.testing.assert_close(found[document_id], row, rtol=0, atol=1e-5)
    limit = ["--data.limit", "7"]
    run(processes, ["test", *options(base_dir, world, two), *more, *limit], tmp_path / "log")
    questions = list(read_records(world / "questions.jsonl", Question))
    # Five one-hop questions and a two-hop one about each of six people: the first 7 and all 6.
    asked = [q.id for n, q in enumerate(questions) if n < 8 or q.type == "two_hop"]
    predictions = list(read_records(two / "predictions.jsonl", Prediction))
    assert sorted(p.question_id for p in predictions) == sorted(asked * 8)
    counted = {p.question_id for p in predictions if p.counts_in_all}
    assert counted == {question.id for question in questions[:7]}


@pytest.mark.parametrize(
    ("num_documents", "launcher"),
    [
        (1, "torchrun"),
        pytest.param(1, "torchrun on nodes", marks=pytest.mark.slow),
        pytest.param(1, "slurm on nodes", marks=pytest.mark.slow),
    ],
)
def test_processes_without_documents_end_well(
    processes: ForkServerContext,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    num_documents: int,
    launcher: Launcher,
) -> None:
    few = tmp_path / "world"
    documents = list(read_records(world / "documents.jsonl", Document))[:num_documents]
    write_records(few / "documents.jsonl", documents)
    (few / "augmentations.jsonl").write_bytes((world / "augmentations.jsonl").read_bytes())
    words = ["fit", *options(base_dir, few, tmp_path / "run")]
    said = run(processes, words, tmp_path / "log", 3, launcher)
    assert said.count("0 of 0 documents are in") == 3 - num_documents
    assert len(adapters(tmp_path / "run")) == num_documents


def test_what_ends_a_process_ends_those_that_it_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), sys.exit(143)));"
        "print('ready', flush=True); time.sleep(60)"
    )

    def launch_child(self: WaitingLauncher) -> None:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.stdout.close()
        self.procs.append(child)

    def end() -> None:
        raise SIGTERMException

    monkeypatch.setattr(WaitingLauncher, "_call_children_scripts", launch_child)
    launcher = WaitingLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
    with pytest.raises(SIGTERMException):
        launcher.launch(end)
    # It was asked to end, not killed, and waited for.
    assert launcher.statuses == (143,)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_process_is_named_and_the_next_run_does_the_rest(
    processes: ForkServerContext, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    words = ["fit", *options(base_dir, world, root), "--data.passes", "2"]
    # Lightning starts the second process by the first one's command line.
    first = subprocess.Popen(
        [
            *(sys.executable, "-m", "prag_lightning", *words),
            *("--trainer.strategy", "per_document", "--trainer.devices", "2"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    child = _wait_for_writer(root, first)
    os.kill(child, signal.SIGKILL)
    _, error = first.communicate(timeout=180)
    assert first.returncode == 75
    assert "process 1 of this node was ended by signal 9; what is finished is saved" in error
    assert len(adapters(root)) < 6
    run(processes, words, tmp_path / "log")
    assert len(adapters(root)) == 6


def _wait_for_writer(root: Path, parent: "subprocess.Popen[str]") -> int:
    """Return the process id of the other rank, once it has opened the store."""
    while parent.poll() is None:
        for _, holder in living_writers(root / "adapters"):
            if holder.pid not in (0, parent.pid):
                return holder.pid
        time.sleep(0.02)
    raise AssertionError("there was no other rank")


@pytest.mark.parametrize(
    "launcher", [pytest.param("torchrun", marks=pytest.mark.slow), "slurm on nodes"]
)
def test_processes_that_a_launcher_started_are_counted_without_being_told(
    processes: ForkServerContext, base_dir: Path, world: Path, tmp_path: Path, launcher: Launcher
) -> None:
    words = ["fit", *options(base_dir, world, tmp_path / "run")]
    said = run(processes, words, tmp_path / "log", launcher=launcher, told=False)
    assert "process 0: 2 of 2" in said
    assert "process 1: 4 of 4" in said
    assert len(adapters(tmp_path / "run")) == 6


def _watched(ready: Path, ended: Path) -> None:
    """Wait below a parent of its own until it is gone."""
    if os.fork():
        # The parent, which is killed.
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def end(*_: object) -> None:
        ended.touch()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    end_with_parent(seconds=0.05)
    ready.touch()
    time.sleep(30)
    os._exit(1)


def test_a_process_ends_after_kill_9_of_the_one_that_launched_it(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    parent = processes.Process(target=_watched, args=(tmp_path / "ready", tmp_path / "ended"))
    parent.start()
    parent.join(60)
    assert parent.exitcode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while not (tmp_path / "ended").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "ended").exists()


def test_sigusr1_ends_a_run_as_sigterm_does_and_leaves_no_checkpoint(
    processes: ForkServerContext, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    words = ["fit", *options(base_dir, world, root), "--data.passes", "500"]
    log = tmp_path / "log"
    log.touch()
    process = processes.Process(target=run_rank, args=(0, 1, "slurm on nodes", words, log))
    process.start()
    # It is written when training begins.
    while process.is_alive() and not (root / "fit.yaml").exists():
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGUSR1)
    process.join(60)
    assert process.exitcode == 143, log.read_text()
    assert list(root.rglob("*.ckpt")) == []


def test_a_run_is_known_by_its_job_or_its_meeting_point(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")):
            monkeypatch.delenv(name)
    alone = current_run_id()
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    launched = current_run_id()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert [alone, launched, current_run_id()] == [":", "node1:29500", "slurm 7."]


def test_a_run_of_the_same_job_or_port_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_id(**settings: str) -> str:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            return current_run_id()

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    logs = "/tmp/torchelastic_a/none_{run}/attempt_0/{rank}/error.json"
    one, same, other, elsewhere = (
        run_id(
            TORCHELASTIC_ERROR_FILE=logs.format(run=run, rank=rank),
            LOCAL_WORLD_SIZE="2",
            WORLD_SIZE=size,
        )
        for run, rank, size in [("a", 0, "2"), ("a", 1, "2"), ("b", 0, "2"), ("b", 0, "4")]
    )
    assert one == same != other
    # Every machine of several has a folder of its own.
    assert elsewhere == run_id()
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    assert run_id(**job) == "slurm 7.0" != run_id(**job, SLURM_RESTART_COUNT="1")
