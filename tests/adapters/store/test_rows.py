"""Adapters as bytes."""

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, all_finite
from prag_lightning.adapters.store.rows import RowCodec

LAYOUT = AdapterLayout((("gate", 5, 7), ("down", 7, 5)), rank=2)


def quantized(row: Tensor) -> Tensor:
    """Return a row as int8 keeps it, matrix by matrix and scale by scale."""
    result = torch.empty_like(row)
    for key, matrix in LAYOUT.split(row).items():
        target = LAYOUT.split(result)[key]
        for component in range(LAYOUT.rank):
            part = (component, slice(None)) if ".lora_A." in key else (slice(None), component)
            scale = matrix[part].abs().max() / 127
            target[part] = (matrix[part] / scale).round() * scale if scale else 0.0
    return result


def test_int8_has_a_scale_for_each_component_of_each_matrix() -> None:
    row = torch.randn(LAYOUT.num_params, generator=torch.Generator().manual_seed(0))
    matrices = LAYOUT.split(row)
    matrices["base_model.model.gate.lora_B.weight"][:, 1] *= 1000
    matrices["base_model.model.down.lora_A.weight"][0] *= 1e-6
    matrices["base_model.model.down.lora_B.weight"].zero_()
    codec = RowCodec(LAYOUT, "int8")
    data = bytes(codec.encode(row[None]))
    assert len(data) == codec.num_bytes == LAYOUT.num_params + 4 * 2 * 4
    decoded = codec.decode(data)
    torch.testing.assert_close(decoded, quantized(row), rtol=1e-6, atol=0)
    small = LAYOUT.split(row - decoded)["base_model.model.down.lora_A.weight"][0]
    assert 0 < small.abs().max() < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_rows_are_encoded_one_after_another(dtype: str) -> None:
    rows = torch.randn(3, LAYOUT.num_params, generator=torch.Generator().manual_seed(0))
    codec = RowCodec(LAYOUT, dtype)  # type: ignore[arg-type]
    together = bytes(codec.encode(rows))
    assert together == b"".join(bytes(codec.encode(row[None])) for row in rows)
    assert len(together) == 3 * codec.num_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_not_finite_is_seen(dtype: torch.dtype, number: float) -> None:
    row = torch.zeros(1000, dtype=dtype)
    assert all_finite(row)
    row[517] = number
    assert not all_finite(row)
