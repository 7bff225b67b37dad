"""Training with a compiled base; the compiler here only traces, for the real one takes minutes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.encoding import compiled_layers
from prag_lightning.encoding.batches import EncodingBatch, Row, collate_encoding
from prag_lightning.encoding.compiled_layers import CompiledLayers
from prag_lightning.encoding.objectives import Distill, NextToken, Objective
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model import loss
from prag_lightning.language_model.attention import SEGMENTED
from tests.conftest import tiny_base

pytestmark = [
    # torch.compile imports what torch itself has deprecated,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
    # and looks at tensors that are no leaves.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """Counts what is compiled."""
    caches = compiled_layers._compiled, loss._compiled
    backend = CompileCounterWithBackend("eager")
    # An interruption of the graph is an error.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    for cached in caches:
        cached.cache_clear()
    torch._dynamo.reset()
    yield backend
    for cached in caches:
        cached.cache_clear()
    torch._dynamo.reset()


def deep_base() -> PreTrainedModel:
    """More layers than there are pieces of compiled code."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    base = LlamaForCausalLM(config)
    base.eval()
    return base


def batch(lengths: tuple[int, ...], packed: bool = False) -> EncodingBatch:
    rows = [
        Row(slot, ids, 0, teacher_ids=[7, *ids])
        for slot, length in enumerate(lengths)
        if (ids := list(range(slot, slot + length)))
    ]
    return collate_encoding(rows, packed, {row.slot: "a document" for row in rows}, {}, {})


def gradients(
    compile: bool,
    batches: list[EncodingBatch],
    objective: Objective = NextToken(),  # noqa: B008
) -> list[Tensor]:
    base = deep_base()
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LoraConfig(), 4)
    torch.nn.init.normal_(bank.weight, std=0.02)
    trainer = SlotTrainer(base, bank, compile=compile)
    grads = []
    for one in batches:
        trainer.step(replace(one, objective=objective), StackedAdamW(bank.weight, lr=0.0))
        grads.append(bank.grad.clone())
    return grads


def check_gradients(batches: list[EncodingBatch], objective: Objective) -> None:
    both = (gradients(compiled, batches, objective) for compiled in (True, False))
    for found, expected in zip(*both, strict=True):
        largest = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * largest)
        assert largest > 1e-5


def test_compiled_code_gives_the_same_gradients_and_serves_every_shape_and_layer(
    counter: CompileCounterWithBackend,
) -> None:
    # Two rows of the rank's number first, then parts of one row, and of others.
    batches = [batch((12, 12)), batch((9, 12, 7, 12)), batch((30, 31, 30)), batch((5, 6, 7, 6))]
    check_gradients(batches, NextToken())
    assert len({part.input_ids.shape for one in batches for part in one.parts}) == 6
    # A layer for one row and for several, without and with a gradient of what it reads, however
    # many layers there are; and a chunk of the loss.
    assert counter.frame_count == 5


def test_the_loss_of_distillation_is_compiled(counter: CompileCounterWithBackend) -> None:
    check_gradients([batch((12, 12))], Distill(temperature=2.0))
    assert counter.frame_count == 3


def test_packed_prompts_are_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"model\.compile is on, but prompts stand in one row"):
        gradients(True, [batch((9, 12), packed=True)])


def test_compiled_layers_that_differ_are_refused_once_they_are_seen_to() -> None:
    base = tiny_base()
    layers = CompiledLayers(base, AdapterBank(base, LoraConfig(), 1))
    hidden = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    layers.check(torch.full_like(hidden, torch.nan), hidden)
    with pytest.raises(ValueError, match=r"differ by 1\.00%\); leave --model\.compile out"):
        layers.check(hidden, 1.01 * hidden)
    layers.check(hidden, (1 + 1e-6) * hidden)


def test_layers_are_of_one_kind_if_they_differ_in_weights_and_number_only() -> None:
    base = tiny_base()
    bank = AdapterBank(base, LoraConfig(), 1)
    (first, second) = CompiledLayers(base, bank).layers
    assert first.template is second.template
    assert (second.own_places, second.template_places) == ((3, 4, 5), (0, 1, 2))
    # As in models whose layers attend by turns to all and to the nearest tokens.
    base.model.layers[1].self_attn.sliding_window = 4
    (first, second) = CompiledLayers(base, bank).layers
    assert first.template is not second.template
    assert second.template_places == (3, 4, 5)


def test_a_head_or_an_embedding_outside_of_the_layers_is_named() -> None:
    base = tiny_base()
    bank = AdapterBank(base, LoraConfig(), 1)
    base.model.projection = torch.nn.Linear(2, 2)
    bank.config = LoraConfig(target_modules=("projection",))
    with pytest.raises(ValueError, match=r"'model\.projection' stands in none"):
        CompiledLayers(base, bank)
