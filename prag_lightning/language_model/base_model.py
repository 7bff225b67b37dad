"""Loading the base language model and its tokenizer."""

from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prag_lightning.documents.still_running import still_running
from prag_lightning.language_model.pretrained import from_pretrained

Quantization = Literal["nf4", "int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def load_tokenizer(
    base: str | PreTrainedModel | PreTrainedTokenizerBase, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model.

    Args:
        base: Hub name or folder, or ``demo`` for the embedded model. A loaded model stands for the
            name or folder that it was loaded from; a loaded tokenizer is returned as it is.
        trust_remote_code: Whether to run Python code that comes with the tokenizer.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If its files contain no tokenizer, or an unreadable one.
    """
    if isinstance(base, PreTrainedTokenizerBase):
        return base
    name = base.name_or_path if isinstance(base, PreTrainedModel) else base
    if not name:
        raise ValueError("the base model was not loaded from files; give its tokenizer, too")
    tokenizer: PreTrainedTokenizerBase = from_pretrained(
        AutoTokenizer, name, trust_remote_code=trust_remote_code
    )
    return tokenizer


def load_base(
    base: str | PreTrainedModel,
    *,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
    device: torch.device | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a causal language model, frozen and without dropout.

    Args:
        base: Hub name or folder, or ``demo`` for the embedded model. A loaded model is only frozen.
        dtype: Dtype of the weights; ``auto`` keeps the one in the files.
        quantization: Load the linear layers in 4 bits (NF4, double quantization) or 8 bits with
            bitsandbytes (Dettmers et al. 2023, arXiv:2305.14314).
        device: Device for quantized weights; unquantized ones are moved by the caller.
        trust_remote_code: Whether to run Python code that comes with the model.

    Raises:
        FileNotFoundError: If there is no such model.
        OSError: If a disk or a server fails.
        ValueError: If its files are damaged, lack weights or need something that is missing, or if
            options are given that a loaded model does not have.
    """
    if isinstance(base, PreTrainedModel):
        _check_loaded(base, dtype, quantization)
        model = base
    else:
        with still_running(lambda: f"loading base model '{base}'"):
            model = _load(base, dtype, quantization, device, trust_remote_code)
    model.requires_grad_(False)
    # As in the published code, adapters are trained without dropout.
    model.eval()
    _keep_gradients_on_cpu(model)
    return model


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return every token that ends an answer, the model's own and the tokenizer's.

    Chat models have several in their generation config; adapters learn to produce the tokenizer's.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
    """
    own = model.generation_config.eos_token_id if model.generation_config else None
    ids = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    return sorted({token for token in ids if token is not None})


def _load(
    base: str,
    dtype: Dtype,
    quantization: Quantization | None,
    device: torch.device | None,
    trust_remote_code: bool,
) -> PreTrainedModel:
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code}
    if quantization is not None:
        options["quantization_config"] = _quantization_config(quantization, dtype)
        options["device_map"] = {"": device or torch.device("cpu")}
    model: PreTrainedModel
    model, loading = from_pretrained(
        AutoModelForCausalLM,
        base,
        output_loading_info=True,
        # Mismatches are reported below, in one line instead of a table.
        ignore_mismatched_sizes=True,
        **options,
    )
    if mismatched := loading["mismatched_keys"]:
        name, found, expected = min(mismatched)
        raise ValueError(
            f"base model '{base}' has {len(mismatched)} tensors of other sizes than its "
            f"config.json says: '{name}' is {tuple(found)} in its files and {tuple(expected)} by "
            "the config; do they belong together?"
        )
    if missing := loading["missing_keys"]:
        raise ValueError(
            f"base model '{base}' lacks {len(missing)} of its tensors, '{min(missing)}' first; "
            "its files are incomplete, or not those of a language model"
        )
    return model


def _check_loaded(model: PreTrainedModel, dtype: Dtype, quantization: Quantization | None) -> None:
    if dtype != "auto" or quantization is not None:
        raise ValueError(
            "the base is a loaded model, which keeps its precision; leave dtype and quantization "
            "out, or give the name of the model instead"
        )
    if getattr(model, "peft_config", None):
        raise ValueError(
            f"the loaded {type(model).__name__} has adapters of PEFT in it; give the model without "
            "them"
        )


def _quantization_config(quantization: Quantization, dtype: Dtype) -> BitsAndBytesConfig:
    if quantization == "int8":
        # With a threshold above 0, a column's outlier status would depend on the other documents
        # in the batch.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype == "auto" else getattr(torch, dtype),
    )


def _keep_gradients_on_cpu(model: nn.Module) -> None:
    """Keep 4-bit layers from repacking their weights on a CPU, which silently drops gradients.

    bitsandbytes does this in its first forward pass without gradients.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
