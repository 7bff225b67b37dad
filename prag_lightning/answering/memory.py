"""How much memory answering may take: for batches, and for adapters that stay in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.answering.requests import WaitingRow
from prag_lightning.language_model.logits import CACHE, decoder_of

_CGROUP = Path("/sys/fs/cgroup")
# Shares of the memory that is free when documents are opened.
_FOR_BATCHES = 0.5
_FOR_ADAPTERS = 0.1
# Of the widest layer's outputs, this many are alive at once.
_NUM_ALIVE = 4


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device; of a CPU, within the limit of its container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = int(psutil.virtual_memory().available)
    limit, used = (_number_in(_CGROUP / f"memory.{name}") for name in ("max", "current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def _number_in(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def bytes_for_adapters(device: torch.device) -> int:
    """Return how much memory adapters may take that are kept for further questions."""
    return int(_FOR_ADAPTERS * free_bytes(device))


class BatchRoom(NamedTuple):
    """The size that batches may have.

    Args:
        num_bytes: Memory for a batch.
        num_rows: Maximum number of rows.
        num_new_tokens: Longest answer, in tokens.
        token_bytes: Memory that a token of a row takes.
        adapter_bytes: Memory that a merged adapter of a row takes.
    """

    num_bytes: int
    num_rows: int
    num_new_tokens: int
    token_bytes: int
    adapter_bytes: int

    def holds(self, rows: Sequence[WaitingRow]) -> bool:
        """Return whether rows fit into one batch."""
        tokens = max(len(row.row.prompt) for row in rows) + self.num_new_tokens
        # Beside the documents' adapters, the warm start and the mean.
        adapters = max(len(row.merge.documents) for row in rows) + 2
        row_bytes = tokens * self.token_bytes + adapters * self.adapter_bytes
        return len(rows) <= self.num_rows and len(rows) * row_bytes <= self.num_bytes


def measure_room(
    base: PreTrainedModel, layout: AdapterLayout, num_rows: int, num_new_tokens: int
) -> BatchRoom:
    """Return the size that batches may have, by the free memory.

    Args:
        base: The language model.
        layout: Layout of one adapter.
        num_rows: Maximum number of rows.
        num_new_tokens: Longest answer, in tokens.
    """
    parameter = next(base.parameters())
    widest = max(max(matrix.shape) for matrix in layout.matrices)
    active = _NUM_ALIVE * widest * torch.finfo(base.dtype).bits // 8
    return BatchRoom(
        int(_FOR_BATCHES * free_bytes(parameter.device)),
        num_rows,
        num_new_tokens,
        _cached_bytes(base, parameter.device) + active,
        layout.num_params * torch.finfo(base.dtype).bits // 8,
    )


@torch.no_grad()
def _cached_bytes(base: PreTrainedModel, device: torch.device) -> int:
    """Return the bytes of keys and values per token, from reading a few."""
    ids = torch.zeros(1, 8, dtype=torch.long, device=device)
    cache = DynamicCache(config=base.config)
    decoder_of(base)(input_ids=ids, use_cache=True, **{CACHE: cache})
    tensors = (t for layer in cache.layers for t in vars(layer).values() if isinstance(t, Tensor))
    return sum(tensor.nbytes for tensor in tensors) // ids.numel()
