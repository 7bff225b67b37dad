"""Adapters as GGUF files, which llama.cpp loads."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.export import (
    FOLDERS_FILE,
    empty_target,
    merged_adapter,
    write_files,
)
from prag_lightning.adapters.store.model_card import card_files
from prag_lightning.exporting.gguf_base import GgufBase

GGUF_FILE = "adapter.gguf"
WARM_START_FILE = "warm_start.gguf"


def gguf_bytes(
    row: Tensor, layout: AdapterLayout, lora: LoraConfig, base: GgufBase, name: str
) -> bytes:
    """Serialize an adapter to a GGUF file, as llama.cpp's ``convert_lora_to_gguf.py`` does.

    Args:
        row: The adapter, shape ``(num_params,)``.
        layout: Memory layout of the adapter.
        lora: Settings of the adapter.
        base: The base model as llama.cpp sees it.
        name: What llama-server's ``/lora-adapters`` calls the adapter.
    """
    from gguf import GGUFWriter

    matrices = layout.split(row.float().cpu())
    with TemporaryDirectory() as folder:
        file = Path(folder) / GGUF_FILE
        writer = GGUFWriter(file, base.architecture)
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", lora.alpha)
        writer.add_string("adapter.lora.task_name", name)
        for module, tensor in base.tensors.items():
            lora_A, lora_B = (
                matrices[f"base_model.model.{module}.lora_{letter}.weight"] for letter in "AB"
            )
            if module in base.num_heads:
                lora_B = _reordered(lora_B, base.num_heads[module])
            writer.add_tensor(f"{tensor}.lora_a", lora_A.contiguous().numpy())
            writer.add_tensor(f"{tensor}.lora_b", lora_B.contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def _reordered(lora_B: Tensor, num_heads: int) -> Tensor:
    """Return the rows in llama.cpp's order: pairs that are rotated together are neighbours.

    transformers pairs row ``i`` of a head with row ``i + head_dim / 2``.
    """
    out_features, rank = lora_B.shape
    pairs = lora_B.view(num_heads, 2, out_features // num_heads // 2, rank)
    return pairs.transpose(1, 2).reshape(out_features, rank)


def export_gguf(
    store: AdapterStore,
    document_ids: Sequence[str],
    weights: Sequence[float],
    path_or_url: str | os.PathLike[str],
    base: GgufBase,
    warm_start: tuple[Tensor, float] | None = None,
) -> LoraConfig:
    """Write the merged adapters of documents to ``adapter.gguf``, with the prompt used in training.

    Args:
        store: The store of the adapters.
        document_ids: The documents.
        weights: Weight of each document.
        path_or_url: The folder, as a path or any fsspec URL.
        base: The base model as llama.cpp sees it.
        warm_start: The shared warm start, shape ``(num_params,)``, and its weight in the merge;
            None to leave it out.

    Returns:
        The settings of the adapter that was written.

    Raises:
        ValueError: If a document is not stored, or the folder already holds files.
    """
    row, layout, lora = merged_adapter(store, document_ids, weights, warm_start)
    fs, root = empty_target(path_or_url)
    content = gguf_bytes(row, layout, lora, base, " + ".join(document_ids))
    write_files(fs, root, {**_prompt_files(store, document_ids), GGUF_FILE: content})
    return lora


def export_gguf_each(
    store: AdapterStore,
    document_ids: Sequence[str],
    path_or_url: str | os.PathLike[str],
    base: GgufBase,
    warm_start: Tensor | None = None,
) -> Iterator[str]:
    """Write each document's adapter to a GGUF file, and yield its id once it is written.

    The files are numbered as llama-server numbers them where it loads all in order, and
    ``documents.jsonl`` says whose each is.

    Args:
        store: The store of the adapters.
        document_ids: The documents.
        path_or_url: The folder, as a path or any fsspec URL.
        base: The base model as llama.cpp sees it.
        warm_start: The shared warm start, shape ``(num_params,)``, which becomes the last file;
            None to leave it out.

    Raises:
        ValueError: If a document is not stored, or the folder already holds files.
    """
    fs, root = empty_target(path_or_url)
    write_files(fs, root, _prompt_files(store, document_ids))
    files: list[dict[str, str | int]] = []
    for number, document_id in enumerate(dict.fromkeys(document_ids)):
        file = f"{number:06}.gguf"
        row = store.get_many([document_id])[0]
        content = gguf_bytes(row, store.layout, store.recipe.lora, base, document_id)
        write_files(fs, root, {file: content})
        files.append({"id": document_id, "file": file, "lora": number})
        yield document_id
    if warm_start is not None:
        content = gguf_bytes(warm_start, store.layout, store.recipe.lora, base, "warm start")
        write_files(fs, root, {WARM_START_FILE: content})
    lines = "".join(f"{json.dumps(file, ensure_ascii=False)}\n" for file in files)
    write_files(fs, root, {FOLDERS_FILE: lines.encode()})


def _prompt_files(store: AdapterStore, document_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the prompt used in training; the model card is about PEFT."""
    files = card_files(store.recipe, store.recipe.base_model, document_ids)
    return {name: content for name, content in files.items() if name != "README.md"}
