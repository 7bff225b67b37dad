"""Importing adapters of the published encoder, ``offline/.../data_{i}/passage_{j}``."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.peft_format import CONFIG_FILE, read_adapter, read_config
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.recipe import Scalar, digest_text

# Number of adapters stored with one flush to disk.
_AT_ONCE = 64
_TRAINING = re.compile(r"^(lr=|aug_model=)")


@dataclass(frozen=True)
class PublishedAdapter:
    """An adapter of the published encoder: its folder and its document."""

    folder: Path
    document_id: str
    text_digest: str


def find_adapters(
    published_dir: Path,
    data_file: Path | None = None,
    passage_id: Callable[[str], str] = digest_text,
) -> list[PublishedAdapter]:
    """Return the adapters below a folder in question order; only the first of each document.

    Args:
        published_dir: The folder that contains ``data_0``, or, without ``data_file``, a parent.
        data_file: The published data file that the adapters were made from. If given, a document's
            id is derived from its text, so that questions share passages; otherwise it is
            ``data_{i}/passage_{j}``.
        passage_id: Derives an id from a text, as published passages have none.

    Raises:
        FileNotFoundError: If there are no adapters.
        ValueError: If the data file does not belong to the adapters.
    """
    folders = sorted(published_dir.glob("**/data_*/passage_*"), key=_natural)
    if not folders:
        raise FileNotFoundError(
            f"{published_dir}: holds no data_*/passage_* folder; give the one in which data_0 lies"
        )
    if data_file is None:
        ids = [folder.relative_to(published_dir).as_posix() for folder in folders]
        return [PublishedAdapter(f, i, "unknown") for f, i in zip(folders, ids, strict=True)]
    passages = _read_passages(data_file)
    found: dict[str, PublishedAdapter] = {}
    for folder in folders:
        name = folder.relative_to(published_dir).as_posix()
        if name not in passages:
            raise ValueError(
                f"{folder}: {data_file} has no passage '{name}'; give the data file that these "
                "adapters were made from, and the folder in which its data_0 lies"
            )
        document_id = passage_id(passages[name])
        adapter = PublishedAdapter(folder, document_id, digest_text(passages[name]))
        found.setdefault(document_id, adapter)
    return list(found.values())


def read_lora(adapter: PublishedAdapter) -> LoraConfig:
    """Return the LoRA settings of an adapter."""
    file = adapter.folder / CONFIG_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; PEFT's save_pretrained writes it")
    return read_config(file.read_bytes(), str(file)).lora


def published_settings(published_dir: Path) -> dict[str, Scalar]:
    """Return the training settings that the adapters' folder names contain.

    Raises:
        ValueError: If the folder contains adapters with different settings.
    """
    below = {part for path in published_dir.glob("**/data_*") for part in path.parts}
    parts = [part for part in sorted(below) if _TRAINING.match(part)]
    settings = dict(part.split("=", 1) for part in parts)
    if len(settings) < len(parts):
        raise ValueError(
            f"{published_dir}: adapters of several trainings lie below it "
            f"({', '.join(parts)}); import each into its own store"
        )
    return dict(settings)


def import_adapters(adapters: Iterable[PublishedAdapter], store: AdapterStore) -> None:
    """Store adapters, after checking each against the store's recipe.

    Args:
        adapters: The adapters.
        store: A store that is open for writing.

    Raises:
        ValueError: If one is damaged or fits another base model; the message names its folder.
    """
    remaining = iter(adapters)
    while chunk := list(islice(remaining, _AT_ONCE)):
        rows = [read_adapter(a.folder, store.layout, store.recipe.lora) for a in chunk]
        store.put_many(
            [adapter.document_id for adapter in chunk],
            torch.stack(rows),
            [adapter.text_digest for adapter in chunk],
        )


def _natural(folder: Path) -> tuple[str, list[int]]:
    """Return a sort key that puts ``data_2`` before ``data_10``."""
    numbers = [int(number) for part in folder.parts[-2:] for number in re.findall(r"\d+", part)]
    return folder.parent.parent.as_posix(), numbers


def _read_passages(data_file: Path) -> dict[str, str]:
    """Return the passages of a published data file by the folder names of their adapters."""
    if not data_file.is_file():
        raise FileNotFoundError(f"{data_file}: no such file; expected a published data file")
    try:
        return {
            f"data_{i}/passage_{j}": str(passage["passage"])
            for i, question in enumerate(json.loads(data_file.read_bytes()))
            for j, passage in enumerate(question["augment"])
        }
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{data_file}: not a published data file, a list of questions with 'augment' "
            f"({type(error).__name__}: {error})"
        ) from error
