"""How a command ends: any error becomes one line and an exit status."""

import os
import select
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

from prag_lightning.cli.exit_status import (
    CLOSED_PIPE,
    INTERRUPTED,
    TERMINATED,
    TRY_AGAIN,
    UNFORESEEN,
    USAGE,
)

_OPTION, _VARIABLE = "--traceback", "PRAG_TRACEBACK"
_STDOUT = 1
# These mean that a given path is wrong; any other OSError is a failure of a disk or a server.
_WRONG_PATH = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def without_traceback_option(words: Sequence[str]) -> tuple[list[str], bool]:
    """Return a command line without ``--traceback``, and whether tracebacks are requested.

    >>> without_traceback_option(["fit", "--traceback", "--config", "demo"])
    (['fit', '--config', 'demo'], True)
    """
    rest = [word for word in words if word != _OPTION]
    asked = len(rest) < len(words) or os.environ.get(_VARIABLE, "0") not in ("", "0")
    return rest, asked


def make_output_safe() -> None:
    """Replace characters that the output's encoding lacks, instead of failing on them.

    Output to a file is also flushed line by line, to stay in order with error messages.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace", line_buffering=True)


def status_after(error: BaseException, shows_traceback: bool) -> int:
    """Print in one line why a command ended, and return its exit status.

    Args:
        error: The exception that the command raised.
        shows_traceback: Whether to print the traceback first.

    Raises:
        SystemExit: If ``error`` is one, with its status.
    """
    # Unwrap an exception group of concurrent tasks.
    while len(getattr(error, "exceptions", ())) == 1:
        (error,) = error.exceptions  # type: ignore[attr-defined]
    if _is_closed_pipe(error):
        _print_to_nowhere()
        return CLOSED_PIPE
    if type(error).__name__ == "SIGTERMException":
        # Lightning's, a SystemExit without a status.
        return TERMINATED
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, KeyboardInterrupt):
        # Start the shell's prompt on a new line.
        print(file=sys.stderr)
        return INTERRUPTED
    if shows_traceback:
        traceback.print_exception(error)
    if isinstance(error, ValueError):
        return fail(str(error), USAGE)
    if isinstance(error, OSError):
        # An unreachable server, a full disk or a store in use may be available later.
        status = USAGE if isinstance(error, _WRONG_PATH) else TRY_AGAIN
        return fail(_without_number(error), status)
    if type(error).__name__ == "LostProcessError":
        # By name to avoid the import, as below.
        return fail(str(error), TRY_AGAIN)
    if _is_out_of_memory(error):
        hint = "free some, or take a smaller --model.num_slots or --data.question_batch_size"
        return fail(f"there is not enough memory ({error}); {hint}", TRY_AGAIN)
    if isinstance(error, ImportError) and not (error.name or "").startswith("prag_lightning"):
        # An optional library that these settings need.
        return fail(f"{error}; install it, or choose settings that do without", USAGE)
    where = "" if shows_traceback else f" ({_VARIABLE}=1 or {_OPTION} shows where)"
    return fail(f"unforeseen: {type(error).__name__}: {error}{where}", UNFORESEEN)


def fail(message: str, status: int) -> int:
    """Print a message in one line and return the status.

    Args:
        message: What went wrong.
        status: The exit status to return.
    """
    print(f"prag: {' '.join(message.split())}", file=sys.stderr)
    return status


def _is_out_of_memory(error: BaseException) -> bool:
    # Torch's class, by name to avoid the import; on a CPU it is a plain RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _without_number(error: OSError) -> str:
    """Return the system's message in this program's format: the file first."""
    if error.filename is None or not str(error).startswith("[Errno"):
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _is_closed_pipe(error: BaseException) -> bool:
    """Return whether standard output was closed by its reader, such as ``| head``."""
    # rich ends the program with status 1.
    if isinstance(error, SystemExit):
        return isinstance(error.__context__, BrokenPipeError)
    if not isinstance(error, BrokenPipeError):
        return False
    # Otherwise it was the connection to a server.
    output = select.poll()
    output.register(_STDOUT, select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _print_to_nowhere() -> None:
    """Discard remaining output: Python flushes standard output on exit, which would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
