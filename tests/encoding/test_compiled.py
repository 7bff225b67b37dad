"""Training with a compiled base; the compiler here only traces, for the real one takes minutes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.encoding import slot_trainer as slots
from prag_lightning.encoding.batches import EncodingBatch, Row, collate_encoding
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
    caches = slots._compiled_hidden_states, loss._compiled
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
    base = tiny_base()
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LoraConfig(), 4)
    torch.nn.init.normal_(bank.weight, std=0.02)
    trainer = SlotTrainer(base, bank, compile=compile)
    grads = []
    for one in batches:
        trainer.step(replace(one, objective=objective), StackedAdamW(bank.weight, lr=0.0))
        grads.append(bank.grad.clone())
    return grads


@pytest.mark.parametrize("objective", [NextToken(), Distill(temperature=2.0)])
def test_compiled_code_gives_the_same_gradients_and_serves_every_shape(
    counter: CompileCounterWithBackend, objective: Objective
) -> None:
    # Two rows of the rank's number first, then parts of one row, and of others.
    batches = [batch((12, 12)), batch((9, 12, 7, 12)), batch((30, 31, 30)), batch((5, 6, 7, 6))]
    both = (gradients(compiled, batches, objective) for compiled in (True, False))
    for found, expected in zip(*both, strict=True):
        largest = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * largest)
        assert largest > 1e-5
    assert len({part.input_ids.shape for one in batches for part in one.parts}) == 6
    # The base for one row, the base for several, and a chunk of the loss.
    assert counter.frame_count == 3


def test_packed_prompts_are_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"model\.compile is on, but prompts stand in one row"):
        gradients(True, [batch((9, 12), packed=True)])
