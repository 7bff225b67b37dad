"""Every row of docs/bases.md: what a base of an architecture can do, and that it trains as PEFT."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.language_model.base_check import BaseAbilities, check_base
from prag_lightning.language_model.logits import head_of, last_hidden_states
from prag_lightning.language_model.loss import token_nll
from prag_lightning.language_model.target_modules import (
    check_target_modules,
    default_target_modules,
)
from tests.language_model.architectures import SIZES, tiny

DOCS = Path(__file__).parents[2] / "docs" / "bases.md"
# architecture | `model_type` | prompts | `layers` | longest
_ROW = re.compile(r"\| [^|]+ \| `(\w+)` \| (packed|rows) \| (`[^|]+`) \| (any|table) \|")
TABLE = {row[1]: row for row in _ROW.finditer(DOCS.read_text(encoding="utf-8"))}
LENGTHS = (11, 5, 14)
RANK = 2


def test_the_table_has_every_common_architecture() -> None:
    common = {
        "llama", "llama4_text", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma",
        "gemma2", "gemma3_text", "phi", "phi3", "gpt2", "gpt_neox", "opt", "falcon", "stablelm",
        "olmo2", "granite", "cohere", "smollm3", "deepseek_v2", "deepseek_v3", "mamba",
    }  # fmt: skip
    assert common <= set(TABLE)


@pytest.mark.parametrize("model_type", TABLE)
def test_a_row_says_what_a_base_of_its_architecture_can_do(model_type: str) -> None:
    _, prompts, layers, longest = TABLE[model_type].groups()
    base = tiny(model_type)
    found = check_base(base)
    assert found.packs == (prompts == "packed")
    assert found.max_tokens == (SIZES["max_position_embeddings"] if longest == "table" else None)
    # Its states hold no keys and values.
    assert found.continues == (model_type != "mamba")
    targets = default_target_modules(base)
    assert targets == tuple(re.findall(r"`([\w.]+)`", layers))
    check_target_modules(base, targets)


def texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 400, (length,), generator=generator) for length in LENGTHS]


def losses_with_the_bank(
    base: PreTrainedModel, abilities: BaseAbilities, bank: AdapterBank
) -> list[Tensor]:
    """The mean loss of each text with the adapter in its slot, read together."""
    base.set_attn_implementation(abilities.attention)
    slots = torch.arange(len(LENGTHS))[:, None]
    if abilities.packs:
        positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
        with bank.routed(Route(slots, lengths=LENGTHS)):
            states = last_hidden_states(base, torch.cat(texts())[None], positions, LENGTHS)
        rows: Sequence[Tensor] = states[0].split(LENGTHS)
    else:
        with bank.routed(Route(slots)):
            rows = list(last_hidden_states(base, nn.utils.rnn.pad_sequence(texts(), True)))
    return [
        token_nll(row[: len(text) - 1], head_of(base), text[1:]).mean()
        for row, text in zip(rows, texts(), strict=True)
    ]


def loss_with_peft(model: Any, text: Tensor) -> Tensor:
    """The mean loss of a text by itself, from the model's own logits."""
    logits = model(input_ids=text[None], use_cache=False).logits[0, :-1].double()
    return nn.functional.cross_entropy(logits, text[1:])


@pytest.mark.parametrize("model_type", TABLE)
def test_a_base_trains_several_documents_at_once_as_peft_trains_each_alone(model_type: str) -> None:
    base = tiny(model_type)
    targets = default_target_modules(base)
    abilities = check_base(base)
    own_attention = base.config._attn_implementation
    bank = AdapterBank(base, LoraConfig(RANK, 8.0, targets), len(LENGTHS))
    generator = torch.Generator().manual_seed(2)
    bank.weight.data.normal_(std=0.1, generator=generator)
    found = losses_with_the_bank(base, abilities, bank)
    bank.zero_grad()
    torch.stack(found).sum().backward()
    base.set_attn_implementation(own_attention)

    config = PeftLoraConfig(r=RANK, lora_alpha=8, target_modules=list(targets))
    if base.config.model_type == "gpt2":
        config.fan_in_fan_out = True
    model = get_peft_model(base, config)
    parameters = dict(model.named_parameters())
    for slot, (text, loss) in enumerate(zip(texts(), found, strict=True)):
        row = bank.layout.split(bank.weight.detach()[slot])
        own = {key.replace(".weight", ".default.weight"): value for key, value in row.items()}
        assert own.keys() == {name for name in parameters if "lora_" in name}
        for name, value in own.items():
            parameters[name].data.copy_(value)
        model.zero_grad()
        expected = loss_with_peft(model, text)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        gradient = bank.layout.split(bank.grad[slot])
        for key, value in gradient.items():
            wanted = parameters[key.replace(".weight", ".default.weight")].grad
            assert wanted is not None
            assert (value - wanted).norm() < 1e-4 * max(wanted.norm().item(), 1e-3)
        assert bank.grad[slot].norm() > 1e-3
