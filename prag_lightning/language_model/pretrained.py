"""Where a base model's files are, and reading them with transformers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, try_to_load_from_cache
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging

from prag_lightning.language_model.embedded import BASE_DIR, DEMO
from prag_lightning.language_model.gguf_file import converted, find_gguf
from prag_lightning.language_model.loading_errors import ADVICE, errors_in_one_line
from prag_lightning.language_model.smollm2 import SMOLLM2, find_smollm2

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE = 5.0


def from_pretrained(loader: Any, base: str, **options: Any) -> Any:
    """Return what ``loader.from_pretrained`` makes of a base model's files.

    Args:
        loader: An auto class of transformers.
        base: What `find_files` takes.
        options: Passed on.

    Raises:
        FileNotFoundError: If there is no such model.
        OSError: If a disk or a server fails.
        ValueError: If its files are broken, or need something that is not there.
    """
    source = find_files(base)
    with errors_in_one_line(base), _without_loading_bar():
        return loader.from_pretrained(source, **options)


@contextmanager
def _without_loading_bar() -> Iterator[None]:
    """Keep transformers' bar out of what a program of others prints; those of downloads stay."""
    if not logging.is_progress_bar_enabled():
        yield
        return
    downloads_are_shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if downloads_are_shown:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        if not downloads_are_shown:
            disable_progress_bars()


def find_files(base: str) -> str:
    """Return the folder of a base model, or its hub name if the hub can be reached.

    That is a name under which transformers, PEFT and servers know it, too.

    Args:
        base: Hub name or folder; a GGUF file, or a folder with one, which is converted when it is
            used for the first time; ``demo`` is the embedded one, ``smollm2`` a small real one.

    Raises:
        FileNotFoundError: If it is nowhere.
        OSError: If there is no room for what a GGUF file is converted into.
        ValueError: If it is a file or folder of something else.
    """
    if base == DEMO:
        return str(BASE_DIR)
    if base == SMOLLM2:
        return find_files(find_smollm2())
    if not base:
        raise ValueError(f"no base model is named; {ADVICE}")
    path = Path(base)
    if (file := find_gguf(path)) is not None:
        return str(converted(file))
    if path.is_dir():
        _check_folder(base, path)
        return base
    if path.is_file():
        raise ValueError(f"base model '{base}' is a file, but no GGUF file; {ADVICE}")
    if not _HUB_NAME.fullmatch(base):
        raise FileNotFoundError(f"base model '{base}' cannot be loaded (no such folder); {ADVICE}")
    if _hub_is_there():
        return base
    # transformers would ask the hub again and again for a minute.
    config = try_to_load_from_cache(base, "config.json")
    if isinstance(config, str):
        return str(Path(config).parent)
    raise FileNotFoundError(
        f"base model '{base}' cannot be loaded (there is no such folder, it was not downloaded "
        f"before, and {constants.ENDPOINT} cannot be reached); {ADVICE}"
    )


def _check_folder(base: str, folder: Path) -> None:
    if (folder / "config.json").exists():
        return
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"base model '{base}' is an adapter, not a language model; give the model that it was "
            "trained for, the 'base_model_name_or_path' of its adapter_config.json"
        )
    raise ValueError(f"base model '{base}' cannot be loaded (no config.json in it); {ADVICE}")


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
