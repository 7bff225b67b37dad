"""Digests that identify a base model by its contents instead of its name."""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.upstream import int8_scales_of

# Settings that do not affect the output of a frozen model without dropout.
_IDLE = re.compile(
    r"_.*|.*token_ids?|.*dropout.*|.*pdrop|.*_version|output_.*|.*init.*_range|.*dtype|.*coef"
    r"|architectures|auto_map|chunk_size_feed_forward|id2label|label2id|name_or_path|problem_type"
    r"|quantization_config|return_dict|tokenizer_class|use_cache"
)
# Number of values to read at once.
_CHUNK = 2**22
# Number of values per tensor that the older digest includes.
_NUM_FIRST, _NUM_SPREAD = 64, 1024


def base_digest(base: PreTrainedModel) -> str:
    """Return a digest, 32 hexadecimal digits, of a base model's settings and weights.

    It depends neither on the model's location nor on whether bfloat16 weights are loaded as
    float32. It takes about a second per gigabyte and processor core.
    """
    tensors = dict(_tensors(base))
    with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
        digests = dict(zip(tensors, pool.map(_tensor_digest, tensors.values()), strict=True))
    whole = json.dumps([_settings(base.config.get_text_config()), digests], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def weights_digest(base: PreTrainedModel) -> str:
    """Return the digest, 16 hexadecimal digits, that version 0.1.0 of this package stored.

    It covers each tensor's name, shape and a sample of its values: the first 64, and 1,024 evenly
    spaced ones.
    """
    digest = hashlib.sha256()
    for name, parameter in base.named_parameters():
        values = parameter.detach().flatten()
        spread = torch.arange(_NUM_SPREAD, device=values.device) * (len(values) - 1)
        sample = torch.cat([values[:_NUM_FIRST], values[spread // (_NUM_SPREAD - 1)]])
        digest.update(f"{name} {tuple(parameter.shape)} ".encode())
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]


def _tensors(base: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights by name, without duplicates, and the persistent buffers."""
    yield from base.named_parameters()
    saved = base.state_dict().keys()
    for prefix, module in base.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if f"{prefix}.{name}".removeprefix(".") in saved:
                yield f"{prefix}.{name}", buffer
        # 4-bit and 8-bit weights depend on scales that are not parameters.
        weight = getattr(module, "weight", None)
        if (state := getattr(weight, "quant_state", None)) is not None:
            yield f"{prefix}.absmax", state.absmax
        if (scales := int8_scales_of(weight)) is not None:
            yield f"{prefix}.scales", scales


def _settings(config: Any) -> dict[str, Any]:
    """Return the settings that differ from the architecture's defaults."""
    # Leaving out defaults keeps the digest the same when a later version adds a setting.
    usual = type(config)().to_dict()
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if not _IDLE.fullmatch(name) and value != usual.get(name)
    }
    return {"model_type": config.model_type, **json.loads(json.dumps(settings, default=str))}


def _tensor_digest(tensor: Tensor) -> str:
    """Return a digest of a tensor's shape and values, in bfloat16 if that is lossless."""
    digest = hashlib.sha256(str(tuple(tensor.shape)).encode())
    chunks = tensor.detach().reshape(-1).split(_CHUNK)
    narrow = tensor.dtype in (torch.float32, torch.float16) and all(map(_fits_bfloat16, chunks))
    for numbers in chunks:
        numbers = numbers.bfloat16() if narrow else numbers
        numbers = numbers.float() if numbers.dtype == torch.float16 else numbers
        digest.update(numbers.cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fits_bfloat16(numbers: Tensor) -> bool:
    return torch.equal(numbers, numbers.bfloat16().to(numbers.dtype))
