"""Finding a base model's files and loading them with transformers."""

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
from prag_lightning.language_model.smollm2 import SMOLLM2, SMOLLM2_HUB_NAME, find_smollm2

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE = 5.0


def from_pretrained(loader: Any, base: str, **options: Any) -> Any:
    """Load a base model's files with ``loader.from_pretrained``.

    Args:
        loader: An auto class of transformers.
        base: A base model as in `find_files`.
        options: Passed to ``from_pretrained``.

    Raises:
        FileNotFoundError: If there is no such model.
        OSError: If a disk or a server fails.
        ValueError: If its files are damaged, or need something that is missing.
    """
    source = find_files(base)
    with errors_in_one_line(base), _without_loading_bar():
        return loader.from_pretrained(source, **options)


@contextmanager
def _without_loading_bar() -> Iterator[None]:
    """Hide transformers' loading bar in the output, but not those of downloads."""
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

    The result is a name that transformers, PEFT and servers accept, too.

    Args:
        base: Hub name or folder; a GGUF file or a folder with one, which is converted on first
            use; ``demo`` for the embedded model; or ``smollm2`` for a small real one.

    Raises:
        FileNotFoundError: If there is no such model.
        OSError: If the disk is too full to convert a GGUF file.
        ValueError: If the file or folder is not a base model.
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
    # Avoids transformers' retries, which would take a minute if the hub is unreachable.
    config = try_to_load_from_cache(base, "config.json")
    if isinstance(config, str):
        return str(Path(config).parent)
    raise FileNotFoundError(
        f"base model '{base}' cannot be loaded (there is no such folder, it was not downloaded "
        f"before, and {constants.ENDPOINT} cannot be reached); {ADVICE}"
    )


def public_name(base: str) -> str:
    """Return what other programs call a base model: the short names are ours alone.

    Args:
        base: A base model as in `find_files`.
    """
    return {DEMO: str(BASE_DIR), SMOLLM2: SMOLLM2_HUB_NAME}.get(base, base)


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
    """Check once whether the hub can be reached, through a proxy if there is one."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    # The hub's HTTP library, and thus its exceptions, differ by version.
    except Exception:
        return False
    return True
