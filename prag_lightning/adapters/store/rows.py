"""Encoding adapters as bytes: unchanged float32, bfloat16 or float16, or int8 with scales."""

from functools import cached_property

import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, all_finite
from prag_lightning.adapters.store.recipe import StoreDtype

_FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RowCodec:
    """Encodes flat float32 rows as a store's bytes, and decodes them.

    An int8 adapter consists of its scales in float32, followed by its numbers. Each row of a
    ``lora_A`` and each column of a ``lora_B`` has one scale, its largest absolute value over 127.
    (Scales for the rows of ``lora_B``, of ``rank`` numbers each, would take more space than these.)

    Args:
        layout: Memory layout of an adapter.
        dtype: Dtype in which adapters are stored.
    """

    def __init__(self, layout: AdapterLayout, dtype: StoreDtype) -> None:
        self._layout = layout
        self._dtype = dtype

    @cached_property
    def num_bytes(self) -> int:
        """Size of one adapter in bytes."""
        if self._dtype == "int8":
            return 4 * self._num_scales + self._layout.num_params
        return _FLOATS[self._dtype].itemsize * self._layout.num_params

    @property
    def safetensors_dtype(self) -> str:
        """Dtype of the stored elements in safetensors notation."""
        return {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "int8": "U8"}[self._dtype]

    @property
    def safetensors_width(self) -> int:
        """Number of stored elements per adapter; for int8, of bytes."""
        return self.num_bytes if self._dtype == "int8" else self._layout.num_params

    def encode(self, rows: Tensor) -> memoryview:
        """Return the concatenated bytes of rows, shape ``(n, num_params)``.

        Raises:
            ValueError: If a number is not finite, or overflows the stored dtype.
        """
        quantized = self._dtype == "int8"
        numbers = rows if quantized else rows.to(_FLOATS[self._dtype])
        if not all_finite(numbers):
            raise ValueError(f"an adapter holds numbers that are not finite in {self._dtype}")
        stored = self._quantize(rows) if quantized else numbers
        return stored.contiguous().view(-1).view(torch.uint8).numpy().data

    def decode(self, data: bytes) -> Tensor:
        """Decode one adapter's bytes to a row, shape ``(num_params,)``, float32."""
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        if self._dtype != "int8":
            return raw.view(_FLOATS[self._dtype]).to(torch.float32)
        scales = raw[: 4 * self._num_scales].view(torch.float32)
        return raw[4 * self._num_scales :].view(torch.int8) * scales[self._scale_of]

    def _quantize(self, rows: Tensor) -> Tensor:
        index = self._scale_of.expand_as(rows)
        largest = torch.zeros(len(rows), self._num_scales).scatter_reduce(
            1, index, rows.abs(), "amax"
        )
        scales = largest / 127
        # A row of zeros has scale 0 and must stay zero.
        steps = rows / scales.clamp_min(torch.finfo(torch.float32).tiny).gather(1, index)
        numbers = steps.round().clamp(-127, 127).to(torch.int8)
        return torch.cat([scales.view(torch.uint8), numbers.view(torch.uint8)], dim=1)

    @cached_property
    def _scale_of(self) -> Tensor:
        """Index of the scale that each number uses, shape ``(num_params,)``."""
        rank = self._layout.rank
        components = torch.arange(rank)
        parts: list[Tensor] = []
        for number, matrix in enumerate(self._layout.matrices):
            along_rows = matrix.key.endswith("lora_A.weight")
            own = components[:, None] if along_rows else components
            parts.append((number * rank + own).expand(matrix.shape).reshape(-1))
        return torch.cat(parts)

    @property
    def _num_scales(self) -> int:
        return len(self._layout.matrices) * self._layout.rank
