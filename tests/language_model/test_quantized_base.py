"""Bases of 4 and 8 bits, as bitsandbytes runs them on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_check import check_base
from prag_lightning.language_model.base_model import Quantization, load_base
from prag_lightning.language_model.logits import head_of, last_hidden_states
from prag_lightning.language_model.loss import token_nll

IDS = torch.randint(0, 400, (1, 12), generator=torch.Generator().manual_seed(0))


def step(base: PreTrainedModel, bank: AdapterBank) -> tuple[Tensor, Tensor]:
    """The loss of one prompt with the adapter in slot 0, and its gradient."""
    bank.zero_grad()
    places = torch.arange(IDS.shape[1])[None]
    with bank.routed(Route(torch.tensor([[0]]), lengths=(IDS.shape[1],))):
        states = last_hidden_states(base, IDS, places, (IDS.shape[1],))
    loss = token_nll(states[0, :-1], head_of(base), IDS[0, 1:]).mean()
    loss.backward()
    return loss.detach(), bank.grad[0].clone()


# 8-bit layers quantize what they are given, too.
@pytest.mark.parametrize(("quantization", "tolerance"), [("nf4", 1e-4), ("int8", 0.05)])
def test_a_quantized_base_trains_as_one_of_its_dequantized_weights_before_and_after_a_test(
    base_dir: Path, quantization: Quantization, tolerance: float
) -> None:
    quantized = load_base(str(base_dir), dtype="float32", quantization=quantization)
    plain = load_base(str(base_dir), dtype="float32", quantization=quantization).dequantize()
    results = []
    for base in (quantized, plain):
        base.set_attn_implementation(SEGMENTED)
        bank = AdapterBank(base, LoraConfig(), 1)
        generator = torch.Generator().manual_seed(1)
        bank.load(0, torch.randn(bank.layout.num_params, generator=generator) * 0.05)
        results.append(step(base, bank))
        with torch.no_grad():
            base(input_ids=IDS)
        # bitsandbytes drops gradients from here on, if it is let.
        assert torch.equal(step(base, bank)[1], results[-1][1])
    (loss, grad), (plain_loss, plain_grad) = results
    torch.testing.assert_close(loss, plain_loss, rtol=tolerance, atol=0)
    assert (grad - plain_grad).norm() < tolerance * plain_grad.norm()
    whole = load_base(str(base_dir))(input_ids=IDS).logits
    assert (plain(input_ids=IDS).logits - whole).norm() > 1e-3 * whole.norm()


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantized_base_has_its_linear_layers_in_few_bits_and_passes_the_check(
    base_dir: Path, quantization: Quantization
) -> None:
    base = load_base(str(base_dir), dtype="float32", quantization=quantization)
    layers: dict[str, Any] = {
        name: module for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)
    }
    assert layers.pop("lm_head").weight.dtype == torch.float32
    assert len(layers) == 2 * 7
    for layer in layers.values():
        if quantization == "nf4":
            assert layer.weight.dtype == torch.uint8
            assert layer.weight.quant_state.quant_type == "nf4"
            # Its scales are quantized, too.
            assert layer.weight.quant_state.nested
        else:
            assert layer.weight.dtype == torch.int8
            # Above 0, a row's values would decide how its neighbours are rounded.
            assert layer.state.threshold == 0
    assert not any(parameter.requires_grad for parameter in base.parameters())
    assert check_base(base).packs
