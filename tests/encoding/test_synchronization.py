"""A step of training never waits for the device."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.encoding.batches import Row, collate_encoding
from prag_lightning.encoding.objectives import Distill, NextToken, Objective
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model import logits
from prag_lightning.language_model.attention import SEGMENTED
from tests.conftest import tiny_base

# Tensors there have no content: reading one on the host, or a shape that depends on it, is an
# error, as it would be a wait for a GPU.
DEVICE = torch.device("meta")


class Copies(TorchDispatchMode):
    """Counts copies from the host for which it waits."""

    num_blocking = num_copies = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        moves = func is torch.ops.aten._to_copy.default and kwargs.get("device") == DEVICE
        if moves and args[0].device.type == "cpu":
            self.num_copies += 1
            self.num_blocking += not kwargs.get("non_blocking", False)
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    # This device does not know of it.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device="": False)


def trainer() -> tuple[SlotTrainer, StackedAdamW]:
    base = tiny_base()
    base.to(DEVICE)  # type: ignore[arg-type]
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LoraConfig(), 4)
    return SlotTrainer(base, bank, max_grad_norm=1.0), StackedAdamW(bank.weight)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("objective", [NextToken(), Distill()])
def test_a_step_reads_nothing_from_the_device(packed: bool, objective: Objective) -> None:
    slots, optimizer = trainer()
    row = torch.zeros(slots.bank.layout.num_params, device=DEVICE)
    lengths = (5, 9, 40)
    rows = [
        Row(slot, ids, 2, teacher_ids=[7, *ids])
        for slot, length in enumerate(lengths)
        if (ids := list(range(length)))
    ]
    names = dict(enumerate("abc"))
    batch = collate_encoding(rows, packed, names, names, names, objective)
    with Copies() as copies:
        slots.start(batch.begins, row, optimizer)
        losses = slots.step(batch.to(DEVICE), optimizer)
        finished = slots.take_finished(list(batch.ends))
    assert losses.shape == (3,)
    assert finished.rows.shape == (3, len(row))
    assert (copies.num_blocking, copies.num_copies > 5) == (0, True)


def test_without_a_mask_transformers_would_read_the_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots, optimizer = trainer()
    rows = [Row(slot, list(range(5 + slot)), 0) for slot in range(2)]
    batch = collate_encoding(rows, True, {0: "a", 1: "b"}, {}, {0: "a", 1: "b"}).to(DEVICE)

    def forward(base: Any, ids: Tensor, positions: Tensor, lengths: tuple[int, ...]) -> Tensor:
        states: Tensor = logits.decoder_of(base)(
            input_ids=ids, position_ids=positions, use_cache=False, segment_lengths=lengths
        ).last_hidden_state
        return states

    monkeypatch.setattr("prag_lightning.encoding.slot_trainer.last_hidden_states", forward)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        slots.step(batch, optimizer)
