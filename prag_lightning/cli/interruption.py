"""Signals that end a run of a Trainer, after finished documents are saved."""

import os
import signal
from typing import Any, NoReturn

from lightning import Callback, LightningModule, Trainer

from prag_lightning.cli.exit_status import INTERRUPTED


class Interruption(Callback):
    """Ctrl-C: the first saves finished documents and ends the run, the second ends it at once."""

    happened = False

    def listen(self) -> None:
        """Install the signal handler."""
        signal.signal(signal.SIGINT, self._interrupt)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Handle the second Ctrl-C, which Lightning would ignore."""
        if self.happened:
            self.listen()

    def _interrupt(self, *_: Any) -> NoReturn:
        if self.happened:
            # Safe, because the store is consistent at all times.
            os._exit(INTERRUPTED)
        self.happened = True
        raise KeyboardInterrupt
