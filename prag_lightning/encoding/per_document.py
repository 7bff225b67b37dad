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
# Exit statuses of a process that did its part: the numbers of `prag_lightning.cli.exit_status`.
DONE, SOME_FAILED = 0, 3
# How long a process waits for another, in seconds.
PATIENCE = 600.0


class LostProcessError(RuntimeError):
    """A process of the run ended early: what it had not saved is missing."""


def wait_for_file(
    file: Path, seconds: float = PATIENCE, meanwhile: Callable[[], None] | None = None
) -> None:
    """Wait until another process has made a file: nothing else joins the processes of a run.

    Args:
        file: The file or folder.
        seconds: How long to wait at most.
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
    """Processes that share a command line and nothing else.

    Plain DDP averages gradients, and so would make one adapter of two documents. Even without that
    its process group would make every process wait for the first before each batch, so there is
    none: processes may have any number of documents, and none waits until the end, when the first
    on each node waits for those that it launched. Started by Lightning, torchrun or SLURM.
    """

    strategy_name = PER_DOCUMENT

    def setup_distributed(self) -> None:
        """Set ranks, and make no process group: what Lightning would exchange stays local."""
        reset_seed()
        self.set_world_ranks()

    def setup(self, trainer: Trainer) -> None:
        """Set up as on a single device."""
        Strategy.setup(self, trainer)

    @cached_property
    def launcher(self) -> "WaitingLauncher":
        """What starts the node's other processes."""
        assert self.cluster_environment is not None
        return WaitingLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    @property
    def some_failed(self) -> bool:
        """Whether a process that this one launched left documents out."""
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
    """End this process, as SIGTERM does, soon after the one that launched it is gone.

    Args:
        seconds: How long between two looks.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class WaitingLauncher(SubprocessLauncher):
    """Starts the node's other processes, and ends after them."""

    statuses: tuple[int, ...] = ()

    def launch(
        self,
        function: Callable[..., Any],
        *args: Any,
        trainer: Trainer | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the function in this process, too, and wait for the others.

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
