"""Merging an adapter permanently into a base model's weights."""

import os
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prag_lightning.adapters.bank import feature_sizes, find_target_modules
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.peft_format import read_adapter, read_settings
from prag_lightning.documents.writing import whole_folder
from prag_lightning.language_model.base_model import load_base, load_tokenizer


@torch.no_grad()
def merge_into_base(base: str, adapter: Path, output: Path) -> None:
    """Write a new base model, with its tokenizer, whose weights include an adapter.

    For example, a warm start that has learned how to answer questions can be merged into the base
    (OSD, arXiv:2604.26768), so that documents' adapters need not contain it.

    Args:
        base: Hub name or folder of the base.
        adapter: Folder of the adapter in PEFT's format.
        output: The folder to write, which must not exist.

    Raises:
        FileNotFoundError: If the base or the adapter does not exist.
        FileExistsError: If ``output`` exists.
        ValueError: If the adapter belongs to another model.
    """
    if output.exists():
        raise FileExistsError(f"{output}: is there already; name a new folder, or remove it")
    lora = read_settings(adapter)
    model, tokenizer = load_base(base), load_tokenizer(base)
    targets = find_target_modules(model, lora.target_modules)
    layout, row = read_adapter_for(model, adapter)
    matrices = list(layout.split(row).values())
    for (_, module), lora_A, lora_B in zip(targets, matrices[::2], matrices[1::2], strict=True):
        update = lora.scaling * lora_B @ lora_A
        weight = module.weight
        merged = weight.float() + (update.T if isinstance(module, Conv1D) else update)
        weight.copy_(merged.to(weight.dtype))
    with whole_folder(output) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)


def read_adapter_for(
    base: PreTrainedModel, adapter: str | os.PathLike[str]
) -> tuple[AdapterLayout, Tensor]:
    """Return an adapter of any rank and target modules of a base, and its layout.

    Args:
        base: The language model that it belongs to.
        adapter: Folder of the adapter in PEFT's format.

    Returns:
        Its layout, and the adapter, shape ``(num_params,)``, float32.

    Raises:
        FileNotFoundError: If there is no adapter.
        ValueError: If it belongs to another model.
    """
    lora = read_settings(adapter)
    targets = find_target_modules(base, lora.target_modules)
    layout = AdapterLayout(
        tuple((name, *feature_sizes(module)) for name, module in targets), lora.rank
    )
    return layout, read_adapter(adapter, layout, lora)
