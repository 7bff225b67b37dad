"""Training in lower precision through the Trainer, against float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.module import ParametricRAG
from tests.conftest import tiny_base
from tests.encoding.test_slot_trainer import documents, warm_start
from tests.encoding.test_slot_trainer import encode as encode_in_slots
from tests.test_module import LORA, Steps, encode, tasks


class Dtypes(Callback):
    """Keeps in what the base, the adapters and their optimizer's state are."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        optimizer: Any = trainer.optimizers[0]
        self.base = pl_module.base.get_input_embeddings().weight.dtype
        self.adapters = {pl_module.bank.weight.dtype, optimizer.exp_avg.dtype}
        self.adapters |= {optimizer.exp_avg_sq.dtype, pl_module.bank.grad.dtype}


def adapters(base_dir: Path, num_slots: int, precision: Any, *callbacks: Callback) -> Tensor:
    module = ParametricRAG(str(base_dir), LORA, num_slots=num_slots)
    rows = encode(module, Steps(tasks(), num_slots), precision, callbacks)
    assert len(rows) == 5
    return torch.stack([rows[name] for name in sorted(rows)])


@pytest.mark.parametrize(
    ("precision", "base_dtype", "tolerance"),
    [
        ("bf16-mixed", torch.float32, 0.15),
        ("bf16-true", torch.bfloat16, 0.15),
    ],
)
def test_in_lower_precision_many_documents_are_as_close_to_float32_as_each_alone(
    base_dir: Path, precision: str, base_dtype: torch.dtype, tolerance: float
) -> None:
    exact, dtypes = adapters(base_dir, 4, "32-true"), Dtypes()
    together = adapters(base_dir, 4, precision, dtypes)
    alone = adapters(base_dir, 1, precision)
    start = ParametricRAG(str(base_dir), LORA)
    start.configure_model()
    moved = (exact - start.warm_start_row()).norm()
    error, error_alone = (together - exact).norm() / moved, (alone - exact).norm() / moved
    # It did run in the lower precision.
    assert 1e-4 < error < tolerance
    assert error < 1.25 * error_alone
    assert dtypes.base == base_dtype
    assert dtypes.adapters == {torch.float32}


def test_in_16_bits_with_loss_scales_many_documents_are_as_close_to_float32_as_each_alone() -> None:
    # Without the Trainer, which takes bfloat16 instead on a CPU.
    base, work = tiny_base(), documents()
    exact = torch.stack(encode_in_slots(base, work, 4))
    with torch.autocast("cpu", torch.float16):
        together, alone = (
            torch.stack(encode_in_slots(base, work, num_slots, loss_scaling=True))
            for num_slots in (4, 1)
        )
    moved = (exact - warm_start(AdapterBank(base, LORA, 1).layout, torch.float32)).norm()
    assert 1e-4 < (together - exact).norm() / moved < 0.05
    assert (together - exact).norm() < 1.25 * (alone - exact).norm()
