"""Quantized bases with random weights, and one document's adapter over them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from benchmarks.measure import Row, now
from benchmarks.workload import (
    Size,
    random_base,
    training_prompts,
    write_documents,
    write_tokenizer,
)
from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.adapters.warm_start import random_adapter
from prag_lightning.encoding.batches import Row as PromptRow
from prag_lightning.encoding.batches import collate_encoding
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_model import Quantization, load_base

LLAMA_8B = Size(4096, 32, 14336, 32, 8, 128256, dtype=torch.bfloat16)
TINY_8B = Size(64, 2, 128, 4, 2, 200, dtype=torch.bfloat16, shortest=10, longest=20, pad_to=100)


def nf4_base(size: Size, device: torch.device) -> PreTrainedModel:
    """Return a random base in NF4, made layer by layer: one layer at a time is in 16 bits.

    Args:
        size: Shape of the model.
        device: Device that it is made on.
    """
    base = cast(LlamaForCausalLM, random_base(size, device, num_layers=0))
    default = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    for number in range(size.layers):
        with device:
            layer = LlamaDecoderLayer(base.config, number)
        _quantize(layer)
        base.model.layers.append(layer)
    torch.set_default_dtype(default)
    base.config.num_hidden_layers = size.layers
    base.requires_grad_(False)
    base.eval()
    return base


def _quantize(layer: nn.Module) -> None:
    """Replace a layer's linear modules by modules of bitsandbytes."""
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    for name, module in list(layer.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        linear = Linear4bit(
            module.in_features,
            module.out_features,
            bias=False,
            compute_dtype=module.weight.dtype,
            quant_type="nf4",
            device="meta",
        )
        weight: Any = Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
        # Quantizes.
        linear.weight = weight.to(module.weight.device)
        # As `load_base` sets it, without which gradients are lost on a CPU.
        linear.support_avx512bf16_for_cpu = False
        parent, _, last = name.rpartition(".")
        setattr(layer.get_submodule(parent), last, linear)


def compare_with_cpu(
    size: Size, quantization: Quantization, device: torch.device, root: Path
) -> Row:
    """Encode one document over the same quantized base on the device and on the CPU.

    Args:
        size: Shape of the model.
        quantization: Its precision.
        device: The device.
        root: Folder for scratch files.

    Returns:
        How much the adapters' changes and the first gradients differ, in parts of the CPU's.
    """
    folder = root / quantization
    write_tokenizer(size, folder)
    write_documents(size, 1, folder / "documents")
    (prompts,) = training_prompts(folder / "documents", folder)
    random_base(size, torch.device("cpu")).save_pretrained(folder)
    seconds = {}
    changes, gradients = [], []
    for where in (torch.device("cpu"), device):
        base = load_base(str(folder), dtype="float32", quantization=quantization, device=where)
        start = now(where)
        change, gradient = _encode(base, prompts)
        seconds[where.type] = now(where) - start
        changes.append(change)
        gradients.append(gradient)
    return {
        "name": quantization,
        "difference_of_change": _difference(*changes),
        "difference_of_gradient": _difference(*gradients),
        "seconds_on_device": seconds[device.type],
    }


def _encode(base: PreTrainedModel, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Return what training changes of an adapter, and its first gradient."""
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LoraConfig(), 1)
    start = random_adapter(bank.layout, 0).to(bank.weight.device)
    # A lora_B of zero would leave lora_A without a gradient.
    start = start + 0.01
    bank.load(0, start)
    trainer, optimizer = SlotTrainer(base, bank), StackedAdamW(bank.weight)
    gradients = []
    for ids in prompts:
        batch = collate_encoding([PromptRow(0, ids, 0)], False, {}, {}, {0: "a document"})
        trainer.step(batch.to(bank.weight.device), optimizer)
        gradients.append(bank.grad[0].cpu())
    return (bank.weight.detach()[0] - start).cpu(), gradients[0]


def _difference(expected: Tensor, found: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
