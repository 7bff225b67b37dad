"""A gate around a merge rule: whose questions are answered with adapters, and what it costs."""

import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.gate import Gate
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.first_token import first_token_entropy
from prag_lightning.answering.merging import AdapterMerger
from tests.answering.test_merging import CONFIG, CountingStore, question_batch
from tests.conftest import tiny_base


def entropy_written_out(base: PreTrainedModel, prompt: Tensor) -> float:
    """The entropy of the token behind one prompt without padding, as the definition says."""
    probabilities: Tensor = base(input_ids=prompt[None]).logits[0, -1].double().softmax(-1)
    return -math.fsum(p * math.log(p) for p in probabilities.tolist() if p)


@torch.no_grad()
def test_entropies_of_a_batch_are_those_of_each_prompt_alone() -> None:
    base = tiny_base()
    # Otherwise every token is about equally likely.
    base.get_output_embeddings().weight.data *= 30.0
    bank = AdapterBank(base, CONFIG, 6)
    bank.weight.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    (batch,) = question_batch(6)
    route = Route(torch.arange(6)[:, None])
    without = first_token_entropy(base, batch)
    with bank.routed(route):
        merged = first_token_entropy(base, batch)
    assert (merged - without).abs().min() > 1e-3
    for row in range(6):
        prompt = batch.input_ids[row][batch.attention_mask[row].bool()]
        assert float(without[row]) == pytest.approx(entropy_written_out(base, prompt), abs=1e-4)
        with bank.routed(route.of_rows([row])):
            expected = entropy_written_out(base, prompt)
        assert float(merged[row]) == pytest.approx(expected, abs=1e-4)


def merger_and_batch(**limits: float) -> tuple[AdapterMerger, QuestionBatch]:
    """Questions with adapters, all but the fourth."""
    bank = AdapterBank(tiny_base(), CONFIG, 1)
    start, *others = torch.randn(7, bank.layout.num_params) * 0.1
    store = CountingStore(dict(zip("abcdef", others, strict=True)))
    (batch,) = question_batch(6)
    gate = Gate("mean", **limits)
    return AdapterMerger(bank.layout, store, start, gate, {}), batch


WITHOUT = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
WITH = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("limits", "open_rows", "readings"),
    [
        ({}, [1, 1, 1, 1, 1, 1], 0),
        ({"least_without": 0.0, "most_with": math.inf}, [1, 1, 1, 1, 1, 1], 0),
        ({"least_without": 2.0}, [0, 0, 1, 1, 1, 1], 1),
        ({"most_with": 3.0}, [0, 0, 1, 1, 1, 1], 1),
        ({"least_without": 1.0, "most_with": 1.0}, [0, 0, 0, 0, 1, 1], 2),
        ({"least_without": math.inf}, [0] * 6, 1),
        ({"most_with": 0.0}, [0] * 6, 1),
    ],
    ids=str,
)
def test_rows_are_merged_where_both_limits_allow_it(
    limits: dict[str, float], open_rows: list[int], readings: int
) -> None:
    merger, batch = merger_and_batch(**limits)
    routes: list[Route | None] = []

    def entropy(asked: QuestionBatch, route: Route | None) -> Tensor:
        routes.append(route)
        return WITHOUT if route is None else WITH

    chosen = merger.choose_all(batch)
    merges, route = merger.merge(batch, chosen, entropy)
    plain = merger.route(chosen)
    # Every limit that is set costs one reading, none is read where none is.
    assert len(routes) == readings
    assert plain is not None
    assert plain.weights is not None
    if not any(open_rows):
        assert route is None
    else:
        assert route is not None
        assert route.weights is not None
        kept = torch.tensor(open_rows)[:, None]
        assert torch.equal(route.weights, plain.weights * kept)
        assert torch.equal(route.slots * kept, plain.slots * kept)
    for row, merge in enumerate(merges):
        assert merge.is_left_out == (bool(merge.documents) and not open_rows[row])
        assert any(merge.weights.documents) == (bool(merge.documents) and bool(open_rows[row]))
