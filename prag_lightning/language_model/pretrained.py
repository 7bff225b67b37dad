"""Reading models and tokenizers with transformers, which may fail in many ways: all said here."""

import errno
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, get_session, try_to_load_from_cache
from transformers.utils import logging

from prag_lightning.language_model.embedded import BASE_DIR, DEMO

_ADVICE = "give a folder that save_pretrained wrote, or a hub name that this machine can reach"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE = 5.0
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOMEM}
# What libraries say, and what it means.
_MEANINGS = {
    "custom code": "it needs Python code of its own; if you trust it, set trust_remote_code",
    "untagged enum": "its tokenizer.json is of a newer version of tokenizers than is installed",
    "Couldn't instantiate the backend tokenizer": "its files hold no tokenizer, as tokenizer.json",
}
_LONGEST_REASON = 300
_LFS = b"version https://git-lfs"
_TERSE = (LookupError, AttributeError, TypeError, AssertionError)


def from_pretrained(loader: Any, base: str, **options: Any) -> Any:
    """Return what ``loader.from_pretrained`` makes of a base model's files.

    Args:
        loader: An auto class of transformers.
        base: Hub name or folder; ``demo`` is the embedded one.
        options: Passed on.

    Raises:
        FileNotFoundError: If there is no such model.
        OSError: If a disk or a server fails.
        ValueError: If its files are broken, or need something that is not there.
    """
    source = find_files(base)
    verbosity = logging.get_verbosity()
    # What transformers logs of a failure is said by the error, in one line.
    logging.set_verbosity_error()
    try:
        return loader.from_pretrained(source, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    # Files of any kind are read here, by code of many libraries.
    except Exception as error:
        raise _in_one_line(base, error) from error
    finally:
        logging.set_verbosity(verbosity)


def find_files(base: str) -> str:
    """Return the folder of a base model, or its hub name if the hub can be reached.

    Args:
        base: Hub name or folder; ``demo`` is the embedded one.

    Raises:
        FileNotFoundError: If it is nowhere.
        ValueError: If it is a folder of something else.
    """
    if base == DEMO:
        return str(BASE_DIR)
    if not base:
        raise ValueError(f"no base model is named; {_ADVICE}")
    folder = Path(base)
    if folder.is_dir():
        _check_folder(base, folder)
        return base
    if folder.is_file():
        raise ValueError(f"base model '{base}' is a file; {_ADVICE}")
    if not _HUB_NAME.fullmatch(base):
        raise FileNotFoundError(f"base model '{base}' cannot be loaded (no such folder); {_ADVICE}")
    if _hub_is_there():
        return base
    # transformers would ask the hub again and again for a minute.
    config = try_to_load_from_cache(base, "config.json")
    if isinstance(config, str):
        return str(Path(config).parent)
    raise FileNotFoundError(
        f"base model '{base}' cannot be loaded (there is no such folder, it was not downloaded "
        f"before, and {constants.ENDPOINT} cannot be reached); {_ADVICE}"
    )


def _check_folder(base: str, folder: Path) -> None:
    if (folder / "config.json").exists():
        return
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"base model '{base}' is an adapter, not a language model; give the model that it was "
            "trained for, the 'base_model_name_or_path' of its adapter_config.json"
        )
    raise ValueError(f"base model '{base}' cannot be loaded (no config.json in it); {_ADVICE}")


@cache
def _hub_is_there() -> bool:
    """Ask once whether the hub answers, through a proxy where there is one."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    # The errors are those of the hub's own HTTP library, which changes with its versions.
    except Exception:
        return False
    return True


def _in_one_line(base: str, error: Exception) -> Exception:
    """Return the error to raise instead of one that a library threw."""
    message = f"base model '{base}' cannot be loaded ({_reason(base, error)})"
    if isinstance(error, ImportError):
        return ValueError(f"{message}; install it, or use another base model")
    if not isinstance(error, OSError):
        return ValueError(f"{message}; {_ADVICE}")
    if error.errno in _DISK_ERRORS:
        return OSError(message)
    return FileNotFoundError(f"{message}; {_ADVICE}")


def _reason(base: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:_LONGEST_REASON]
    for words, meaning in _MEANINGS.items():
        if words in reason:
            return meaning
    for file in sorted(Path(base).glob("*.safetensors")) + sorted(Path(base).glob("*.bin")):
        with file.open("rb") as stream:
            if stream.read(len(_LFS)) == _LFS:
                return f"{file.name} is a pointer of Git LFS; fetch the file with `git lfs pull`"
    # Of a missing key, say, the text alone is no sentence.
    return f"{type(error).__name__}: {reason}" if isinstance(error, _TERSE) else reason
