"""Encoding as PEFT and torch do it: one document after another, one prompt a step."""

import copy
from collections.abc import Sequence

import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig


def peft_model(base: PreTrainedModel, config: LoraConfig) -> peft.PeftModel:
    """Return a copy of the base wrapped by PEFT."""
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=int(config.alpha),
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(copy.deepcopy(base), settings, autocast_adapter_dtype=False)


def lora_parameters(model: peft.PeftModel) -> dict[str, Tensor]:
    return {
        name.replace(".default", ""): parameter
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }


def set_adapter(model: peft.PeftModel, layout: AdapterLayout, row: Tensor) -> None:
    parameters = lora_parameters(model)
    with torch.no_grad():
        for key, matrix in layout.split(row).items():
            parameters[key].copy_(matrix)


def nll(logits: Tensor, ids: Tensor, start: int = 1) -> Tensor:
    """Mean negative log-likelihood of ``ids[start:]``, in the logits' own precision."""
    return torch.nn.functional.cross_entropy(logits[0, start - 1 : -1], ids[start:])


def prompt_nll(model: torch.nn.Module, ids: Tensor) -> Tensor:
    """Mean negative log-likelihood of a prompt after its first token."""
    return nll(model(input_ids=ids[None]).logits, ids)


def encode_sequentially(
    base: PreTrainedModel,
    config: LoraConfig,
    layout: AdapterLayout,
    start: Tensor,
    documents: Sequence[Sequence[list[int]]],
    lr: float,
    max_grad_norm: float | None = None,
) -> list[Tensor]:
    """Return each document's adapter as a flat row, trained alone from ``start``."""
    rows = []
    for prompts in documents:
        model = peft_model(base, config).to(start.dtype)
        set_adapter(model, layout, start)
        parameters = lora_parameters(model)
        optimizer = torch.optim.AdamW(parameters.values(), lr=lr, foreach=False)
        for prompt in prompts:
            ids = torch.tensor(prompt)
            prompt_nll(model, ids).backward()
            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters.values(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        rows.append(layout.join({k: p.detach() for k, p in parameters.items()}, "reference"))
    return rows
