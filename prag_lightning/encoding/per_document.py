"""The strategy ``per_document``: every process trains its own documents, nothing is exchanged."""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy, Strategy, StrategyRegistry

from prag_lightning.upstream import SubprocessLauncher, UnwrappedStrategy, start_other_processes

PER_DOCUMENT = "per_document"
# Exit statuses of a process that ran to its end, as in `prag_lightning.cli.exit_status`.
DONE, SOME_FAILED = 0, 3
# How long a process waits for another, in seconds.
PATIENCE = 600.0


class LostProcessError(RuntimeError):
    """A process of the run ended early; what it had not saved is lost."""


def current_run_id() -> str:
    """Return an id that only the ranks of this run share: their job or rendezvous."""
    known = os.environ
    if job := known.get("SLURM_JOB_ID"):
        # A requeued job keeps its number.
        restart = known.get("SLURM_RESTART_COUNT", "")
        return f"slurm {job}.{known.get('SLURM_STEP_ID', '')}" + (restart and f" again {restart}")
    point = f"{known.get('MASTER_ADDR', '')}:{known.get('MASTER_PORT', '')}"
    errors = known.get("TORCHELASTIC_ERROR_FILE")
    if errors and known.get("LOCAL_WORLD_SIZE") == known.get("WORLD_SIZE"):
        # torchrun creates a folder per run, RUN/attempt_N/RANK/error.json, whereas its port may be
        # that of an earlier run.
        return f"{point} {Path(errors).parents[1]}"
    return point


def wait_for_file(
    file: Path, seconds: float = PATIENCE, meanwhile: Callable[[], None] | None = None
) -> None:
    """Wait until another process has made a file; processes of a run have no other barrier.

    Args:
        file: The file or folder.
        seconds: Longest time to wait.
        meanwhile: Called while waiting; may raise.

    Raises:
        LostProcessError: If it is not there in time.
    """
    deadline = time.monotonic() + seconds
    while not file.exists():
        if meanwhile is not None:
            meanwhile()
        if time.monotonic() > deadline:
            raise LostProcessError(
                f"no other process of this run has made {file} within {seconds:.0f} seconds; see "
                "what stopped it, and run the same command again"
            )
        time.sleep(0.05)


class PerDocumentStrategy(UnwrappedStrategy, DDPStrategy):
    """Runs independent processes, each with its own documents.

    Plain DDP averages gradients and would thus mix documents. Its process group would also make
    every process wait for the first before each batch, so there is none: processes may have
    different numbers of documents, and wait only at the end, when the first on each node waits for
    those that it launched. Processes may be started by Lightning, torchrun or SLURM.
    """

    strategy_name = PER_DOCUMENT

    def setup_distributed(self) -> None:
        """Set ranks without a process group, so that Lightning's collectives stay local."""
        reset_seed()
        self.set_world_ranks()

    def setup(self, trainer: Trainer) -> None:
        """Set up as on a single device."""
        Strategy.setup(self, trainer)

    @cached_property
    def launcher(self) -> "WaitingLauncher":
        """The launcher of the node's other processes."""
        assert self.cluster_environment is not None
        return WaitingLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    @property
    def some_failed(self) -> bool:
        """Whether documents failed in a process that this one launched."""
        return SOME_FAILED in self.launcher.statuses

    def check_processes(self) -> None:
        """Raise ``LostProcessError`` if a process that this one launched has ended early."""
        self.launcher.check([process.poll() for process in self.launcher.procs])


def refuse_averaging(strategy: Strategy) -> None:
    """Check that a strategy keeps the gradients of different documents apart.

    Raises:
        ValueError: If it averages them.
    """
    if isinstance(strategy, ParallelStrategy) and not isinstance(strategy, PerDocumentStrategy):
        raise ValueError(
            f"{type(strategy).__name__} averages gradients, and so would make one adapter of "
            f"different documents; use --trainer.strategy {PER_DOCUMENT}"
        )


def end_with_parent(seconds: float = 0.5) -> None:
    """End this process, as SIGTERM would, soon after the process that launched it is gone.

    Args:
        seconds: Interval between two checks.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class WaitingLauncher(SubprocessLauncher):
    """Starts the node's other processes, and waits for them to end."""

    statuses: tuple[int, ...] = ()

    def launch(
        self,
        function: Callable[..., Any],
        *args: Any,
        trainer: Trainer | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the function in this process too, then wait for the others.

        Raises:
            LostProcessError: If one of them was killed or crashed.
        """
        if not self.cluster_environment.creates_processes_externally:
            start_other_processes(self)
        elif isinstance(self.cluster_environment, LightningEnvironment):
            end_with_parent()
        try:
            result = function(*args, **kwargs)
        except BaseException:
            self.kill(signal.SIGTERM)
            raise
        finally:
            self.statuses = tuple(process.wait() for process in self.procs)
        self.check(self.statuses)
        return result

    def check(self, statuses: tuple[int, ...] | list[int | None]) -> None:
        """Raise ``LostProcessError`` if one of the launched processes ended early."""
        for rank, status in enumerate(statuses, start=1):
            if status not in (None, DONE, SOME_FAILED):
                assert status is not None
                how = f"by signal {-status}" if status < 0 else f"with status {status}"
                raise LostProcessError(
                    f"process {rank} of this node was ended {how}; what is finished is saved: run "
                    "the same command again to do the rest"
                )


StrategyRegistry.register(
    PER_DOCUMENT, PerDocumentStrategy, description="Every process trains its own documents."
)
