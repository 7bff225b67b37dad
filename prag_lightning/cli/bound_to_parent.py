"""The command ``prag`` in a process that ends when the process that started it does."""

import os
import signal
import sys
import threading

from prag_lightning.cli.main import main

_STDIN = 0


def _end_with_parent() -> None:
    # The parent writes nothing; its end closes the pipe.
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main())
