"""Training in slots, without a Trainer: precision, full memory, loss scales, quantized bases."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.adapters.warm_start import random_adapter
from prag_lightning.encoding.batches import EncodingBatch, Part, Row, collate_encoding
from prag_lightning.encoding.objectives import NextToken, Objective
from prag_lightning.encoding.schedule import Schedule
from prag_lightning.encoding.slot_trainer import FIRST_LOSS_SCALE, SlotTrainer
from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_model import Quantization, load_base
from prag_lightning.language_model.logits import Head
from prag_lightning.language_model.loss import token_nll
from tests import reference
from tests.conftest import tiny_base
from tests.reference import (
    encode_sequentially,
    lora_parameters,
    peft_model,
    prompt_nll,
    set_adapter,
)

NEXT_TOKEN = NextToken()
LORA = LoraConfig(rank=2, alpha=32)
LR = 3e-4


def documents(count: int = 6) -> list[list[list[int]]]:
    """Token ids of each document's prompts; documents are of unequal length."""
    generator = torch.Generator().manual_seed(3)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    return [
        [
            torch.randint(0, 400, (draw(5, 30),), generator=generator).tolist()
            for _ in range(draw(2, 6))
        ]
        for _ in range(count)
    ]


def warm_start(layout: AdapterLayout, dtype: torch.dtype) -> Tensor:
    """A start whose lora_B is not zero, so that both matrices train from the first step."""
    noise = torch.randn(layout.num_params, generator=torch.Generator().manual_seed(5))
    return (random_adapter(layout, 0) + 0.01 * noise).to(dtype)


def encode(
    base: PreTrainedModel,
    work: Sequence[list[list[int]]],
    num_slots: int,
    *,
    packed: bool = True,
    dtype: torch.dtype = torch.float32,
    trainer_class: type[SlotTrainer] = SlotTrainer,
    loss_scaling: bool = False,
) -> list[Tensor]:
    """Return each document's adapter, trained in ``num_slots`` slots."""
    base = copy.deepcopy(base)
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LORA, num_slots, dtype)
    trainer = trainer_class(base, bank, loss_scaling=loss_scaling)
    optimizer = StackedAdamW(bank.weight, lr=LR)
    start, rows = warm_start(bank.layout, dtype), dict[int, Tensor]()
    for turns in Schedule([len(prompts) for prompts in work], num_slots):
        for turn in turns:
            if turn.is_first:
                bank.load(turn.slot, start)
                optimizer.reset(turn.slot)
        trainer.step(
            collate_encoding(
                [Row(turn.slot, work[turn.document][turn.step], 0) for turn in turns],
                packed,
                begins={turn.slot: str(turn.document) for turn in turns if turn.is_first},
                ends={},
                documents={},
            ),
            optimizer,
        )
        for turn in turns:
            if turn.is_last:
                rows[turn.document] = bank.weight.detach()[turn.slot].clone()
    return [rows[number] for number in range(len(work))]


def expected_rows(
    base: PreTrainedModel, work: Sequence[list[list[int]]], dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Return each document's adapter as PEFT and torch make it."""
    layout = AdapterBank(copy.deepcopy(base), LORA, 1).layout
    return encode_sequentially(base, LORA, layout, warm_start(layout, dtype), work, LR)


def largest_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("num_slots", [1, 4, 8])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_in_float64_documents_train_as_they_do_alone_with_peft(
    architecture: str, num_slots: int, packed: bool
) -> None:
    base, work = tiny_base(architecture, torch.float64), documents()
    found = encode(base, work, num_slots, packed=packed, dtype=torch.float64)
    assert largest_difference(found, expected_rows(base, work, torch.float64)) < 1e-9
    # A neighbour's adapter is another one.
    assert largest_difference(found[:1], found[1:2]) > 1e-4


@pytest.mark.parametrize("packed", [True, False])
def test_prompts_of_one_document_in_one_step_make_the_mean_of_their_tokens(packed: bool) -> None:
    base = tiny_base(dtype=torch.float64)
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LORA, 2, torch.float64)
    for slot in range(2):
        bank.load(slot, warm_start(bank.layout, torch.float64))
    # Lengths that are like no other's stand in a part each.
    prompts = [torch.arange(length).tolist() for length in (40, 5, 12)]
    rows = [Row(0, prompts[0], 0), Row(0, prompts[1], 0), Row(1, prompts[2], 0)]
    batch = collate_encoding(rows, packed, {}, {}, {})
    assert len(batch.parts) == (1 if packed else 3)
    losses = SlotTrainer(base, bank).step(batch, StackedAdamW(bank.weight, lr=0.0))
    gradient = bank.grad[0].clone()
    bank.zero_grad()
    model = peft_model(base, LORA)
    set_adapter(model, bank.layout, bank.weight[0].detach())
    each = [prompt_nll(model, torch.tensor(ids)) * (len(ids) - 1) for ids in prompts[:2]]
    expected = (each[0] + each[1]) / (39 + 4)
    expected.backward()
    grads = {key: p.grad for key, p in lora_parameters(model).items() if p.grad is not None}
    torch.testing.assert_close(losses[0], expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        gradient, bank.layout.join(grads, "reference").double(), rtol=0, atol=1e-9
    )
    assert gradient.abs().max() > 1e-3


def test_one_slot_in_float32_gives_peft_s_adapter_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nll(model: Any, ids: Tensor) -> Tensor:
        # The same loss, for a sum of other roundings would differ in the last bit.
        causal = model.base_model.model
        hidden = causal.model(input_ids=ids[None]).last_hidden_state[0, :-1]
        return token_nll(hidden, Head(causal.lm_head.weight), ids[1:]).sum() / (len(ids) - 1)

    monkeypatch.setattr(reference, "prompt_nll", nll)
    base, work = tiny_base(), documents()
    assert largest_difference(encode(base, work, 1), expected_rows(base, work)) == 0.0


def test_in_bfloat16_the_bank_is_as_close_to_float32_as_one_document_at_a_time_is() -> None:
    half = tiny_base(dtype=torch.bfloat16)
    # The same rounded weights.
    exact = copy.deepcopy(half).to(dtype=torch.float32)  # type: ignore[call-arg]
    work = documents()
    truth = torch.stack(expected_rows(exact, work))
    alone = torch.stack(encode(half, work, 1))
    together = torch.stack(encode(half, work, 4))
    change = (truth - truth.mean(0)).norm()
    assert (together - truth).norm() < 1.25 * (alone - truth).norm()
    assert 0 < (together - truth).norm() < 0.2 * change


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_on_a_quantized_base_documents_train_as_they_do_alone_with_peft(
    base_dir: str, quantization: Quantization, packed: bool
) -> None:
    base = load_base(str(base_dir), dtype="float32", quantization=quantization)
    work = documents()
    found = encode(base, work, 4, packed=packed)
    assert largest_difference(found, expected_rows(base, work)) < 1e-5
    plain = encode(load_base(str(base_dir), dtype="float32"), work, 4)
    assert largest_difference(found, plain) > 1e-5


class SmallMemory(SlotTrainer):
    """Has room for two documents at once; in rows it sees so after the first part."""

    num_refused = 0

    def part_losses(
        self, part: Part, loss_counts: Tensor, objective: Objective = NEXT_TOKEN
    ) -> Tensor:
        later = self.bank.weight.grad is not None
        if len(loss_counts) > 2 and (later or part.lengths is not None):
            SmallMemory.num_refused += 1
            raise torch.OutOfMemoryError("no room")
        return super().part_losses(part, loss_counts, objective)


@pytest.mark.parametrize("packed", [True, False])
def test_out_of_memory_halves_the_documents_at_once_and_loses_nothing(
    packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    base, work = tiny_base(), documents()
    SmallMemory.num_refused = 0
    found = encode(base, work, 6, packed=packed, trainer_class=SmallMemory)
    assert largest_difference(found, encode(base, work, 6, packed=packed)) < 1e-6
    # 6, then 3; from then on 1 at a time, with no further try.
    assert SmallMemory.num_refused == 2
    assert "out of memory: going on with 1 documents at once" in capsys.readouterr().out


class Overflowing(SlotTrainer):
    """The gradient of the document in slot 1 overflows while its loss scale is above 4."""

    scales_seen: list[list[float]] = []  # noqa: RUF012

    def _accumulate_at_once(self, batch: EncodingBatch) -> Tensor:
        self.scales_seen.append(self._loss_scales[list(batch.slots)].tolist())
        self.over = [slot == 1 and bool(self._loss_scales[slot] > 4) for slot in batch.slots]
        return super()._accumulate_at_once(batch)

    def part_losses(
        self, part: Part, loss_counts: Tensor, objective: Objective = NEXT_TOKEN
    ) -> Tensor:
        losses = super().part_losses(part, loss_counts, objective)
        factor = torch.tensor([torch.inf if yes else 1.0 for yes in self.over])
        # Where a document has no prompt in this part, there is nothing that could overflow.
        factor[[slot not in part.loss_documents for slot in range(len(factor))]] = 1.0
        losses.register_hook(lambda grad: grad * factor)
        return losses


@pytest.mark.parametrize("packed", [True, False])
def test_a_document_whose_gradient_overflows_tries_smaller_scales_and_skips_nobody_s_step(
    packed: bool,
) -> None:
    base, work = tiny_base(), documents()
    Overflowing.scales_seen.clear()
    found = encode(base, work, 3, packed=packed, trainer_class=Overflowing, loss_scaling=True)
    # Scales are powers of 2, so they change no digit.
    assert largest_difference(found, encode(base, work, 3)) < 1e-6
    assert Overflowing.scales_seen[0] == [FIRST_LOSS_SCALE] * 3
    assert min(min(scales) for scales in Overflowing.scales_seen) == 4.0
