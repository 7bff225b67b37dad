"""What ``--engine ray`` takes of the settings of a local run."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from prag_lightning.cli.trainer_settings import listed_callbacks

# Settings of every worker's Trainer.
_OF_WORKERS = ("precision", "deterministic", "benchmark", "detect_anomaly", "log_every_n_steps")
# Settings that need no worker.
_OF_RUN = ("accelerator", "callbacks", "default_root_dir", "enable_progress_bar", "max_epochs")
_LOCAL: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "precision": None,
    "plugins": None,
}


def refuse_local_settings(settings: Any, defaults: Mapping[str, Any]) -> None:
    """Check that a Trainer's settings do not need a local run.

    Args:
        settings: The Trainer's settings, as given.
        defaults: Their defaults.

    Raises:
        ValueError: If one of them does.
    """
    for name, default in defaults.items():
        if name not in (*_OF_WORKERS, *_OF_RUN) and settings.get(name) != default:
            raise ValueError(
                f"trainer.{name} is for a local run; leave it out with --engine ray, whose workers "
                "have the settings under 'ray'"
            )
    bars = [name for name in listed_callbacks(settings) if "ProgressBar" in name]
    if bars:
        raise ValueError(f"{bars[0]} counts the steps of one process; leave it out with the engine")


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM raise ``SIGTERMException``, as it does while a Trainer runs."""
    happened = False

    def end(*_: Any) -> NoReturn:
        nonlocal happened
        happened = True
        raise SIGTERMException

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SystemExit as stop:
        # While Ray waits, it puts a SystemExit of its own in place of this one.
        if happened:
            raise SIGTERMException from stop
        raise


def settings_of_driver() -> dict[str, Any]:
    """Return settings of a Trainer that stands for the run, but runs nothing."""
    return dict(_LOCAL)


def settings_of_workers(settings: Any) -> dict[str, Any]:
    """Return the settings of every worker's Trainer.

    Args:
        settings: The Trainer's settings, as given.
    """
    taken = {name: settings.get(name) for name in _OF_WORKERS}
    if settings.get("accelerator") != "auto":
        taken["accelerator"] = settings.accelerator
    return taken


def listed_objects(settings: Any) -> Sequence[Callback]:
    """Return the callbacks of ``trainer.callbacks``.

    Args:
        settings: The Trainer's settings, with callbacks that are made.
    """
    listed = settings.get("callbacks") or []
    return listed if isinstance(listed, list) else [listed]
