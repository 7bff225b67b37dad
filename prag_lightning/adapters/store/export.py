"""Exporting adapters as PEFT folders, and copying whole stores."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import PurePosixPath

import fsspec  # type: ignore[import-untyped]
import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
)
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.manifest import MANIFEST
from prag_lightning.adapters.store.model_card import card_files
from prag_lightning.adapters.store.peft_documents import folder_of
from prag_lightning.adapters.store.records import CopiedFile
from prag_lightning.adapters.warm_start import adds_nothing

# Maps folders to documents in an export of several adapters.
FOLDERS_FILE = "documents.jsonl"


def merge_rows(
    rows: Tensor, weights: Sequence[float], layout: AdapterLayout, lora: LoraConfig
) -> tuple[Tensor, AdapterLayout, LoraConfig]:
    """Return one adapter whose update is the weighted sum of several adapters' updates.

    Its rank is the sum of their ranks, and its alpha grows with it, so that the scaling is the
    same.

    Args:
        rows: The adapters, shape ``(k, num_params)``.
        weights: Weight of each adapter.
        layout: Layout of one adapter.
        lora: LoRA settings of one adapter.

    Returns:
        The adapter, shape ``(k * num_params,)``, its layout and its settings.
    """
    count = len(rows)
    split = [layout.split(row) for row in rows]
    matrices: dict[str, Tensor] = {}
    for key in split[0]:
        if key.endswith("lora_A.weight"):
            matrices[key] = torch.cat([adapter[key] for adapter in split], dim=0)
        else:
            weighted = [w * adapter[key] for w, adapter in zip(weights, split, strict=True)]
            matrices[key] = torch.cat(weighted, dim=1)
    merged_layout = AdapterLayout(layout.modules, count * layout.rank)
    merged_lora = LoraConfig(count * lora.rank, count * lora.alpha, lora.target_modules)
    return merged_layout.join(matrices, "the merged adapter"), merged_layout, merged_lora


def merged_adapter(
    store: AdapterStore,
    document_ids: Sequence[str],
    weights: Sequence[float],
    warm_start: tuple[Tensor, float] | None = None,
) -> tuple[Tensor, AdapterLayout, LoraConfig]:
    """Return the merged adapters of documents as one adapter, a single one as it is stored.

    Args:
        store: The store of the adapters.
        document_ids: The documents.
        weights: Weight of each document.
        warm_start: The shared warm start, shape ``(num_params,)``, and its weight in the merge;
            None to leave it out.

    Returns:
        The adapter, its layout and its settings, as from `merge_rows`.

    Raises:
        ValueError: If a document is not stored.
    """
    rows, layout, lora = store.get_many(document_ids), store.layout, store.recipe.lora
    # An untrained warm start adds nothing, because its lora_B is zero.
    if warm_start and not adds_nothing(warm_start[0], layout):
        rows, weights = torch.cat([rows, warm_start[0][None]]), [*weights, warm_start[1]]
    if list(weights) != [1.0]:
        return merge_rows(rows, weights, layout, lora)
    return rows[0], layout, lora


def export_adapter(
    store: AdapterStore,
    document_ids: Sequence[str],
    weights: Sequence[float],
    path_or_url: str | os.PathLike[str],
    *,
    warm_start: tuple[Tensor, float] | None = None,
    base_model: str | None = None,
) -> LoraConfig:
    """Write the merged adapters of documents as one folder that PEFT, vLLM and SGLang load.

    The folder also holds a model card and, if the store has it, the prompt used in training.

    Args:
        store: The store of the adapters.
        document_ids: The documents; the adapter of a single one is written as it is.
        weights: Weight of each document.
        path_or_url: The folder, as a path or any fsspec URL.
        warm_start: The shared warm start, shape ``(num_params,)``, and its weight in the merge;
            None to leave it out.
        base_model: Name of the base model in the exported files; None means the recipe's.

    Returns:
        The settings of the adapter that was written.

    Raises:
        ValueError: If a document is not stored, or the folder already holds files.
    """
    row, layout, lora = merged_adapter(store, document_ids, weights, warm_start)
    base_model = base_model or store.recipe.base_model
    fs, root = empty_target(path_or_url)
    write_files(fs, root, card_files(store.recipe, base_model, document_ids))
    # The configuration is written last, because servers look for it.
    write_files(fs, root, {WEIGHTS_FILE: adapter_bytes(row, layout)})
    write_files(fs, root, {CONFIG_FILE: config_json(lora, base_model)})
    return lora


def export_each(
    store: AdapterStore,
    document_ids: Sequence[str],
    path_or_url: str | os.PathLike[str],
    *,
    base_model: str | None = None,
) -> Iterator[str]:
    """Write each document's adapter to a folder of its own, and yield its id once it is written.

    ``documents.jsonl`` maps the folders to the documents.

    Args:
        store: The store of the adapters.
        document_ids: The documents.
        path_or_url: The parent folder, as a path or any fsspec URL.
        base_model: Name of the base model in the exported files; None means the recipe's.

    Raises:
        ValueError: If a document is not stored, or the folder already holds files.
    """
    fs, root = empty_target(path_or_url)
    folders = {i: folder_of(i).removeprefix("documents/") for i in document_ids}
    for document_id, folder in folders.items():
        target = f"{str(path_or_url).rstrip('/')}/{folder}"
        export_adapter(store, [document_id], [1.0], target, base_model=base_model)
        yield document_id
    rows = (json.dumps({"id": i, "folder": f}, ensure_ascii=False) for i, f in folders.items())
    write_files(fs, root, {FOLDERS_FILE: "".join(f"{row}\n" for row in rows).encode()})


def write_files(fs: fsspec.AbstractFileSystem, root: str, files: dict[str, bytes]) -> None:
    """Write files into an export's folder.

    Args:
        fs: File system of the folder.
        root: Path of the folder.
        files: Contents by name.
    """
    for name, content in files.items():
        fs.pipe_file(f"{root}/{name}", content)


def export_store(store: AdapterStore, path_or_url: str | os.PathLike[str]) -> int:
    """Copy all files of a store, the manifest last, and return their number.

    This is safe while a run is writing to the store: each adapter that the run adds is either
    copied completely or not at all.

    Args:
        store: The store.
        path_or_url: Target folder, as a path or any fsspec URL.

    Raises:
        ValueError: If the target already holds files, or the store contains a link.
    """
    fs, root = empty_target(path_or_url)
    num_copied = 0
    for file in itertools.chain(store.copy_plan(), [CopiedFile(MANIFEST)]):
        path = PurePosixPath(root) / file.name
        try:
            source = BytesIO() if file.is_whole else store.files.open(file.name)
        except FileNotFoundError:
            # Moved by a running writer and copied from its new place, or deleted.
            continue
        fs.makedirs(str(path.parent), exist_ok=True)
        with source, fs.open(str(path), "wb") as target:
            target.write(file.head)
            source.seek(len(file.head))
            shutil.copyfileobj(source, target, length=2**24)
        num_copied += 1
    return num_copied


def empty_target(path_or_url: str | os.PathLike[str]) -> tuple[fsspec.AbstractFileSystem, str]:
    """Create the target folder, and return its file system and path.

    Raises:
        ValueError: If it already holds files.
    """
    target = StoreFiles(path_or_url)
    if names := target.names():
        raise ValueError(f"{target.url}: holds '{names[0]}' already; give an empty or new folder")
    return target.make()
