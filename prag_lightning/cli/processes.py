"""Processes started by torchrun or SLURM, whose number the Trainer must match."""

import os
from typing import Any, NamedTuple

from lightning import Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from prag_lightning.encoding.per_document import PER_DOCUMENT

# Names that SLURM gives to interactive jobs.
_TYPED = ("bash", "interactive")


class StartedProcesses(NamedTuple):
    """Who started a run's processes, and how many."""

    launcher: str
    num_nodes: int
    num_on_each_node: int


def started_processes() -> StartedProcesses | None:
    """Return the processes that torchrun or SLURM started; None if started by hand.

    Raises:
        ValueError: If SLURM allocated several processes, but did not start this one.
    """
    known = os.environ
    if _by_torchrun():
        on_each = int(known.get("LOCAL_WORLD_SIZE", "1"))
        return StartedProcesses("torchrun", int(known["WORLD_SIZE"]) // on_each, on_each)
    if not _by_slurm():
        return None
    num_tasks, num_nodes = (int(known.get(f"SLURM_{n}", "1")) for n in ("NTASKS", "NNODES"))
    if num_tasks == 1 and not _by_srun():
        return None
    if num_tasks > 1 and _num_in_step() == 1:
        raise ValueError(
            f"this job has {num_tasks} tasks (SLURM_NTASKS), but only one process was started; "
            "write srun before the command, or ask SLURM for one task"
        )
    if num_tasks % num_nodes:
        raise ValueError(
            f"SLURM has started {num_tasks} processes on {num_nodes} nodes; start as many on each "
            "(--ntasks-per-node)"
        )
    return StartedProcesses("SLURM", num_nodes, num_tasks // num_nodes)


def settings_for_processes(settings: Any) -> dict[str, Any]:
    """Return the Trainer's settings that follow from how its processes were started.

    Args:
        settings: The given settings; those that are set explicitly are kept.
    """
    started = started_processes()
    changes: dict[str, Any] = {}
    if started is not None and started.num_nodes * started.num_on_each_node > 1:
        if settings.strategy == "auto":
            changes["strategy"] = PER_DOCUMENT
        if settings.devices == "auto":
            changes["devices"] = started.num_on_each_node
        if settings.num_nodes == 1:
            changes["num_nodes"] = started.num_nodes
    given = settings.plugins or []
    plugins = list(given) if isinstance(given, list) else [given]
    if _by_slurm() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        changes["plugins"] = [*plugins, _slurm_environment(started)]
    return changes


def require_all_processes(trainer: Trainer) -> None:
    """Check that the Trainer counts every process that was started.

    Raises:
        ValueError: If it does not: each process would act as the only one.
    """
    started = started_processes()
    if started is None:
        return
    _, num_nodes, on_each = started
    if (trainer.num_nodes, trainer.num_devices) != (num_nodes, on_each):
        raise ValueError(
            f"{started.launcher} has started {on_each} processes on each of {num_nodes} nodes, but "
            f"the Trainer counts {trainer.num_devices} devices on {trainer.num_nodes}; leave "
            "trainer.devices and trainer.num_nodes out, so that they follow"
        )


def _slurm_environment(started: StartedProcesses | None) -> ClusterEnvironment:
    if started is None:
        # Lightning would take any process of a job as started by srun, and wait for others.
        return LightningEnvironment()
    # Lightning rejects `--ntasks` without it.
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(started.num_on_each_node))
    # No checkpoint on SIGUSR1: a restarted job resumes from its store.
    return SLURMEnvironment(auto_requeue=False)


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _by_srun() -> bool:
    """Return whether this process belongs to a step of the job, unlike its batch script."""
    return "SLURM_PROCID" in os.environ and "SLURM_STEP_ID" in os.environ


def _num_in_step() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "0")) if _by_srun() else 1


def _by_slurm() -> bool:
    typed = os.environ.get("SLURM_JOB_NAME") in _TYPED
    return "SLURM_NTASKS" in os.environ and not typed and not _by_torchrun()
