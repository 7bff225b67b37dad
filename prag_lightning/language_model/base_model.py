"""Loading the language model that adapters are trained for."""

import hashlib
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.embedded import BASE_DIR, DEMO

Quantization = Literal["nf4", "int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Values of each tensor that stand for all of them in a digest.
_NUM_FIRST, _NUM_SPREAD = 64, 1024


def load_tokenizer(base: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model, by hub name or folder; ``demo`` is the embedded one."""
    tokenizer: PreTrainedTokenizerBase = _from_pretrained(
        AutoTokenizer, base, trust_remote_code=trust_remote_code
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(
    base: str,
    *,
    dtype: Dtype = "auto",
    quantization: Quantization | None = None,
    device: torch.device | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Return a causal language model, frozen and without dropout.

    Args:
        base: Hub name or folder; ``demo`` is the embedded one.
        dtype: Of the weights; ``auto`` keeps that of the files.
        quantization: Load the linear layers in 4 bits (NF4, double quantization) or 8 bits with
            bitsandbytes (Dettmers et al. 2023, arXiv:2305.14314).
        device: Where quantized weights go; others are moved by their owner.
        trust_remote_code: Run Python code that comes with the model.

    Raises:
        FileNotFoundError: If there is no such model, or its files are broken.
        ValueError: If the files lack weights, which would be left random.
    """
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code}
    if quantization is not None:
        options["quantization_config"] = _quantization_config(quantization, dtype)
        options["device_map"] = {"": device or torch.device("cpu")}
    model: PreTrainedModel
    model, loading = _from_pretrained(
        AutoModelForCausalLM, base, output_loading_info=True, **options
    )
    if missing := loading["missing_keys"]:
        raise ValueError(
            f"base model '{base}' lacks {len(missing)} of its tensors, '{min(missing)}' first; "
            "its files are incomplete, or not those of a language model"
        )
    model.requires_grad_(False)
    # The published adapters are trained without dropout, and so are ours.
    model.eval()
    _keep_gradients_on_cpu(model)
    return model


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return every token that ends an answer: the model's own, and the tokenizer's.

    Chat models have several in their generation config; adapters learn to say the tokenizer's.
    """
    own = model.generation_config.eos_token_id if model.generation_config else None
    ids = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
    return sorted({token for token in ids if token is not None})


def _from_pretrained(loader: Any, base: str, **options: Any) -> Any:
    source = str(BASE_DIR) if base == DEMO else base
    try:
        return loader.from_pretrained(source, **options)
    except (OSError, SafetensorError, UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"base model '{base}' cannot be loaded ({reason}); "
            "give a folder that save_pretrained wrote, or a hub name that this machine can reach"
        ) from error


def _quantization_config(quantization: Quantization, dtype: Dtype) -> BitsAndBytesConfig:
    if quantization == "int8":
        # A threshold above 0 would treat columns as outliers by the values of a document's
        # neighbours in the batch.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype == "auto" else getattr(torch, dtype),
    )


def _keep_gradients_on_cpu(model: nn.Module) -> None:
    """Keep 4-bit layers from repacking their weights on a CPU, which drops gradients silently.

    bitsandbytes does so in its first forward pass without gradient.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def last_hidden_states(
    base: PreTrainedModel,
    input_ids: Tensor,
    position_ids: Tensor,
    segment_lengths: tuple[int, ...] | None = None,
) -> Tensor:
    """Return what the language model head reads, shape ``(rows, tokens, hidden_size)``.

    Args:
        base: A model whose attention is ``segmented_sdpa``.
        input_ids: Shape ``(rows, tokens)``, padded at the right or packed in one row.
        position_ids: Like ``input_ids``.
        segment_lengths: Of a packed row.
    """
    states: Tensor = base.get_decoder()(
        input_ids=input_ids,
        position_ids=position_ids,
        use_cache=False,
        segment_lengths=segment_lengths,
    ).last_hidden_state
    return states


@torch.no_grad()
def check_base(base: PreTrainedModel) -> None:
    """Check that the model's logits can be made by us, part by part and of packed prompts.

    Raises:
        ValueError: If its attention cannot be replaced, if its head is more than a linear layer,
            or if its layers do not pass on which tokens belong together.
    """
    own_attention = base.config._attn_implementation
    head = base.get_output_embeddings()
    ids = torch.arange(10, device=base.device)[None] % base.config.get_text_config().vocab_size
    places = torch.arange(10, device=base.device)[None]
    _require_equal(
        base(input_ids=ids).logits,
        head(last_hidden_states(base, ids, places)),
        # The same operations: a cap on the logits shows even where they are small.
        1e-3,
        f"{type(base).__name__} cannot be used: its head does more than a linear layer",
    )
    alone = [base(input_ids=part).logits for part in ids.split([6, 4], dim=1)]
    try:
        base.set_attn_implementation(SEGMENTED)
    except ValueError as error:
        raise ValueError(
            f"{type(base).__name__} cannot be used: its attention cannot be replaced by PyTorch's"
        ) from error
    places = torch.cat([torch.arange(6), torch.arange(4)])[None].to(base.device)
    packed = head(last_hidden_states(base, ids, places, (6, 4)))
    base.set_attn_implementation(own_attention)
    _require_equal(
        torch.cat(alone, dim=1),
        packed,
        # Rounding in bfloat16 stays under 0.03; a wrong neighbour does not.
        0.05,
        f"{type(base).__name__} cannot be used: packed prompts are not read as each alone",
    )


def _require_equal(expected: Tensor, found: Tensor, tolerance: float, message: str) -> None:
    error = ((found.float() - expected.float()).norm() / expected.float().norm()).item()
    # In this form, numbers that are not finite are refused, too.
    if not error < tolerance:
        raise ValueError(f"{message} (its logits differ by {error:.2%})")


def weights_digest(base: PreTrainedModel) -> str:
    """Return a digest of the weights' identity: of every tensor's name, shape and some values.

    These are the first 64 and 1,024 spread evenly from the first to the last. To read all of them
    would take longer than to load them.
    """
    digest = hashlib.sha256()
    for name, parameter in base.named_parameters():
        values = parameter.detach().flatten()
        spread = torch.arange(_NUM_SPREAD, device=values.device) * (len(values) - 1)
        sample = torch.cat([values[:_NUM_FIRST], values[spread // (_NUM_SPREAD - 1)]])
        digest.update(f"{name} {tuple(parameter.shape)} ".encode())
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]
