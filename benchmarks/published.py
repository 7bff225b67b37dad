"""The published procedure, written from its description (arXiv:2501.15915), and a careful loop."""

import gc
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.layout import LoraConfig as OurLoraConfig

LR = 3e-4


def peft_config(lora: OurLoraConfig) -> LoraConfig:
    """Return our LoRA settings as PEFT's."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def save_warm_start(base: PreTrainedModel, lora: OurLoraConfig, folder: Path) -> PreTrainedModel:
    """Write an untrained adapter in PEFT's form, and return the base as it was."""
    torch.manual_seed(0)
    model = get_peft_model(base, peft_config(lora))
    model.save_pretrained(str(folder))
    unloaded: PreTrainedModel = model.unload()
    return unloaded


def encode_published(
    base: PreTrainedModel,
    warm_start_dir: Path,
    prompts: Sequence[Sequence[int]],
    output_dir: Path,
    pad_to: int | None,
) -> PreTrainedModel:
    """Encode one document: wrap the model, a step for each prompt, save, unwrap, collect garbage.

    Args:
        base: The model.
        warm_start_dir: The adapter that training starts from.
        prompts: Token ids.
        output_dir: Where the adapter goes.
        pad_to: Pad every prompt to so many tokens, as published; None leaves them as they are.

    Returns:
        The unwrapped model.
    """
    model = PeftModel.from_pretrained(base, str(warm_start_dir), is_trainable=True)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=LR)
    for ids in prompts:
        optimizer.zero_grad()
        length = pad_to or len(ids)
        input_ids = torch.zeros(1, length, dtype=torch.long)
        input_ids[0, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(length) < len(ids)).long()[None]
        labels = input_ids.masked_fill(mask == 0, -100)
        device = base.device
        output = model(
            input_ids=input_ids.to(device),
            attention_mask=mask.to(device),
            labels=labels.to(device),
        )
        output.loss.backward()
        optimizer.step()
    model.save_pretrained(str(output_dir))
    unloaded: PreTrainedModel = model.unload()
    torch.cuda.empty_cache()
    gc.collect()
    return unloaded


class PersistentLoop:
    """A careful sequential loop: wrapped once, no padding, no mask, an own writer.

    Args:
        base: The model; it stays wrapped.
        lora: Settings of the adapters.
    """

    def __init__(self, base: PreTrainedModel, lora: OurLoraConfig) -> None:
        self.model = get_peft_model(base, peft_config(lora))
        self.parameters = {
            name.replace(".default", ""): parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }
        self.start = [parameter.detach().clone() for parameter in self.parameters.values()]

    def encode(self, prompts: Sequence[Sequence[int]], file: Path) -> None:
        """Encode one document, and write its adapter to ``file``."""
        parameters = list(self.parameters.values())
        with torch.no_grad():
            torch._foreach_copy_(parameters, self.start)
        optimizer = torch.optim.AdamW(parameters, lr=LR)
        for ids in prompts:
            input_ids = torch.tensor([ids]).to(self.model.device, non_blocking=True)
            loss: Tensor = self.model(input_ids=input_ids, labels=input_ids, use_cache=False).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        tensors = {name: p.detach().cpu() for name, p in self.parameters.items()}
        save_file(tensors, file, metadata={"format": "pt"})
