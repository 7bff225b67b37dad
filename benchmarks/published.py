"""The published procedure, written from its description (arXiv:2501.15915), and a careful loop."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.layout import LoraConfig as OurLoraConfig

LR = 3e-4


def peft_config(lora: OurLoraConfig) -> LoraConfig:
    """Convert our LoRA settings to PEFT's."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.alpha),
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def save_warm_start(base: PreTrainedModel, lora: OurLoraConfig, folder: Path) -> PreTrainedModel:
    """Write an untrained adapter in PEFT's format, and return the unwrapped base."""
    torch.manual_seed(0)
    model = get_peft_model(base, peft_config(lora))
    model.save_pretrained(str(folder))
    return cast(PreTrainedModel, model.unload())


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
        output_dir: Folder of the adapter.
        pad_to: Pad every prompt to this many tokens, as published; None for no padding.

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
    unloaded = cast(PreTrainedModel, model.unload())
    torch.cuda.empty_cache()
    gc.collect()
    return unloaded


class PersistentLoop:
    """A careful sequential loop: wrapped once, no padding, no mask, its own writer.

    Args:
        base: The model, which stays wrapped.
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
        parameters: list[Tensor] = list(self.parameters.values())
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


def answer_published(
    base: PreTrainedModel, adapter_dirs: Sequence[Path], input_ids: Tensor, num_new_tokens: int
) -> tuple[Tensor, PreTrainedModel]:
    """Answer one question: load its adapters, merge, generate, unwrap, collect garbage.

    Args:
        base: The model.
        adapter_dirs: The adapters of the question's documents, in PEFT's format.
        input_ids: The question's prompt, shape ``(1, tokens)``.
        num_new_tokens: Most tokens of an answer.

    Returns:
        The new tokens, and the unwrapped model.
    """
    names = [str(number) for number in range(len(adapter_dirs))]
    model = PeftModel.from_pretrained(base, str(adapter_dirs[0]), adapter_name=names[0])
    for name, folder in zip(names[1:], adapter_dirs[1:], strict=True):
        model.load_adapter(str(folder), adapter_name=name)
    model.add_weighted_adapter(names, [1.0] * len(names), "merge", combination_type="cat")
    model.set_adapter("merge")
    with torch.no_grad():
        output = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=num_new_tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=1,
        )
    model.delete_adapter("merge")
    unloaded = cast(PreTrainedModel, model.unload())
    torch.cuda.empty_cache()
    gc.collect()
    return output[0, input_ids.shape[1] :], unloaded
