"""Turning errors of libraries that load a base model into a line with the model's name."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers.utils import logging

ADVICE = "give a folder that save_pretrained wrote, or a hub name that this machine can reach"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOMEM}
# The hub was reachable before, but failed during a download.
_SERVER_ERRORS = (LocalEntryNotFoundError, ConnectionError, TimeoutError)
# Substrings of library errors, and explanations for the user.
_MEANINGS = {
    "custom code": "it needs Python code of its own; if you trust it, set trust_remote_code",
    "untagged enum": "its tokenizer.json is of a newer version of tokenizers than is installed",
    "Couldn't instantiate the backend tokenizer": "its files hold no tokenizer, as tokenizer.json",
}
_LONGEST_REASON = 300
_LFS = b"version https://git-lfs"
# The messages of these errors are unclear without the type, such as that of a KeyError.
_TERSE = (LookupError, AttributeError, TypeError, AssertionError)


@contextmanager
def errors_in_one_line(base: str) -> Iterator[None]:
    """Turn any error raised while a base model is loaded into one line with its name.

    Args:
        base: Name of the model as the user gave it.

    Raises:
        FileNotFoundError: If a file does not exist.
        OSError: If a disk or a server fails.
        ValueError: If files are damaged, or need something that is missing.
    """
    verbosity = logging.get_verbosity()
    # The error contains what transformers would log about a failure.
    logging.set_verbosity_error()
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    # Loading runs code of many libraries on untrusted files.
    except Exception as error:
        raise _in_one_line(base, error) from error
    finally:
        logging.set_verbosity(verbosity)


def _in_one_line(base: str, error: Exception) -> Exception:
    message = f"base model '{base}' cannot be loaded ({_reason(base, error)})"
    if isinstance(error, ImportError):
        return ValueError(f"{message}; install it, or use another base model")
    if not isinstance(error, OSError):
        return ValueError(f"{message}; {ADVICE}")
    if error.errno in _DISK_ERRORS:
        return OSError(message)
    if isinstance(error.__cause__ or error.__context__, _SERVER_ERRORS):
        return ConnectionError(f"{message}; try again")
    return FileNotFoundError(f"{message}; {ADVICE}")


def _reason(base: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:_LONGEST_REASON]
    for words, meaning in _MEANINGS.items():
        if words in reason:
            return meaning
    for file in sorted(Path(base).glob("*.safetensors")) + sorted(Path(base).glob("*.bin")):
        with file.open("rb") as stream:
            if stream.read(len(_LFS)) == _LFS:
                return f"{file.name} is a pointer of Git LFS; fetch the file with `git lfs pull`"
    return f"{type(error).__name__}: {reason}" if isinstance(error, _TERSE) else reason
