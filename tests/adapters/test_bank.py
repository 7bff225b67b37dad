import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.merge_weights import Sum
from tests.conftest import tiny_base
from tests.reference import lora_parameters, peft_model, set_adapter

CONFIG = LoraConfig(rank=2, alpha=32)


def bank_over(base: PreTrainedModel, num_slots: int, dtype: torch.dtype) -> AdapterBank:
    """A bank whose slots hold different random adapters."""
    bank = AdapterBank(base, CONFIG, num_slots, dtype)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(num_slots, bank.layout.num_params, generator=generator, dtype=dtype)
    for slot, row in enumerate(rows * 0.05):
        bank.load(slot, row)
    return bank


def merged_by_peft(
    base: PreTrainedModel, bank: AdapterBank, slots: Sequence[int], ids: Tensor
) -> Tensor:
    """Logits with PEFT's exact sum of the adapters in ``slots``."""
    model = peft_model(base, CONFIG)
    for slot in slots:
        name = f"slot{slot}"
        model.add_adapter(name, model.peft_config["default"])
        for key, matrix in bank.layout.split(bank.weight[slot].detach()).items():
            parts = key.replace(".weight", f".{name}.weight")
            dict(model.named_parameters())[parts].data.copy_(matrix)
    names = [f"slot{slot}" for slot in slots]
    model.add_weighted_adapter(names, [1.0] * len(names), "merged", combination_type="cat")
    model.set_adapter("merged")
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids[None]).logits
    return logits[0]


@torch.no_grad()
def test_every_row_of_a_batch_answers_with_its_own_sum_of_adapters_as_peft_merges_them() -> None:
    base = tiny_base(dtype=torch.float64)
    plain = copy.deepcopy(base)
    bank = bank_over(base, 5, torch.float64)
    ids = torch.randint(0, 400, (3, 11), generator=torch.Generator().manual_seed(2))
    slots = torch.tensor([[0, 1, 2], [2, 3, 4], [4, 0, 3]])
    with bank.routed(Route(slots, torch.tensor([Sum().weigh([1, 1, 1]).documents] * 3))):
        merged = base(input_ids=ids).logits
    for row in range(3):
        expected = merged_by_peft(plain, bank, slots[row].tolist(), ids[row])
        torch.testing.assert_close(merged[row], expected, rtol=1e-9, atol=1e-9)
    assert (merged - plain(input_ids=ids).logits).abs().max() > 0.01


@torch.no_grad()
def test_weights_scale_the_update_of_each_adapter() -> None:
    base = tiny_base(dtype=torch.float64)
    bank = bank_over(base, 2, torch.float64)
    ids = torch.arange(9)[None]
    with bank.routed(Route(torch.tensor([[0, 1]]), torch.tensor([[1.0, -1.0]]))):
        opposed = base(input_ids=ids).logits
    bank.load(1, bank.weight[0].detach().clone())
    with bank.routed(Route(torch.tensor([[0, 1]]), torch.tensor([[1.0, -1.0]]))):
        cancelled = base(input_ids=ids).logits
    torch.testing.assert_close(cancelled, base(input_ids=ids).logits)
    assert (opposed - cancelled).abs().max() > 0.01


@torch.no_grad()
def test_without_a_route_the_base_is_as_it_was() -> None:
    base = tiny_base()
    ids = torch.arange(9)[None]
    before = base(input_ids=ids).logits
    bank = bank_over(base, 2, torch.float32)
    assert torch.equal(base(input_ids=ids).logits, before)
    with bank.routed(Route(torch.tensor([[1]]))):
        assert not torch.equal(base(input_ids=ids).logits, before)
    assert torch.equal(base(input_ids=ids).logits, before)


@torch.no_grad()
def test_adapters_that_a_route_brings_along_count_instead_of_those_in_the_bank() -> None:
    base = tiny_base()
    bank = bank_over(base, 3, torch.float32)
    ids = torch.arange(9)[None]
    with bank.routed(Route(torch.tensor([[2]]))):
        expected = base(input_ids=ids).logits
    with bank.routed(Route(torch.tensor([[0]]))):
        other = base(input_ids=ids).logits
    with bank.routed(Route(torch.tensor([[0]]), adapters=bank.weight[2:].detach())):
        assert torch.equal(base(input_ids=ids).logits, expected)
    assert not torch.equal(expected, other)


@torch.no_grad()
def test_threads_that_share_a_model_have_routes_of_their_own() -> None:
    base = tiny_base()
    bank = bank_over(base, 8, torch.float32)
    ids = torch.arange(9)[None]

    def logits(slot: int) -> torch.Tensor:
        with torch.no_grad(), bank.routed(Route(torch.tensor([[slot]]))):
            return torch.stack([base(input_ids=ids).logits for _ in range(20)])

    alone = [logits(slot) for slot in range(8)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(logits, range(8)))
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))
    assert not torch.equal(alone[0], alone[1])


def test_a_slot_equals_the_same_adapter_in_peft() -> None:
    base = tiny_base("qwen2", torch.float64)
    model = peft_model(base, CONFIG)
    bank = bank_over(base, 3, torch.float64)
    set_adapter(model, bank.layout, bank.weight[1].detach())
    ids = torch.arange(12)[None]
    with torch.no_grad(), bank.routed(Route(torch.tensor([[1]]))):
        torch.testing.assert_close(base(input_ids=ids).logits, model(input_ids=ids).logits)
    assert list(lora_parameters(model)) == [m.key for m in bank.layout.matrices]
    assert isinstance(model, peft.PeftModel)


def test_moving_to_another_dtype_leaves_the_adapters_in_theirs() -> None:
    bank = bank_over(tiny_base(), 2, torch.float32)
    before = bank.weight.detach().clone()
    bank.to(torch.bfloat16)
    assert bank.weight.dtype == torch.float32
    # Through a bfloat16 it would have been rounded.
    assert torch.equal(bank.weight, before)


def test_a_batch_of_more_rows_than_the_route_is_refused() -> None:
    base = tiny_base()
    bank = bank_over(base, 2, torch.float32)
    with (
        bank.routed(Route(torch.tensor([[0]]))),
        pytest.raises(ValueError, match="the batch has 2 rows, but the route 1"),
    ):
        base(input_ids=torch.zeros(2, 4, dtype=torch.long))


def test_a_target_module_that_the_base_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"'c_fc' is no linear layer .*down_proj, gate_proj"):
        AdapterBank(tiny_base(), LoraConfig(target_modules=("c_fc", "up_proj")), 1)


def test_the_head_as_a_target_module_is_refused_with_the_reason() -> None:
    config = LoraConfig(target_modules=("up_proj", "lm_head"))
    with pytest.raises(ValueError, match=r"'lm_head' is the head of Llama.*; leave it out"):
        AdapterBank(tiny_base(), config, 1)
