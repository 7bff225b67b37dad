"""Signals that end a run of a Trainer: it saves what is finished first."""

import os
import signal
from typing import Any, NoReturn

from lightning import Callback, LightningModule, Trainer

from prag_lightning.cli.exit_status import INTERRUPTED


class Interruption(Callback):
    """Ctrl-C: the first ends a run when what is finished is saved, the second ends it at once."""

    happened = False

    def listen(self) -> None:
        """Take the signal over."""
        signal.signal(signal.SIGINT, self._interrupt)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Listen for the second one, which Lightning would ignore."""
        if self.happened:
            self.listen()

    def _interrupt(self, *_: Any) -> NoReturn:
        if self.happened:
            # The store is whole at any moment.
            os._exit(INTERRUPTED)
        self.happened = True
        raise KeyboardInterrupt
