"""Prompts that begin alike: their beginnings are read once, and their answers stay the same."""

from typing import Any

import pytest
import torch
from torch import Tensor

from prag_lightning import LoraConfig, ParametricRAG
from prag_lightning.adapters.bank import Route
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.reading import can_share, find_beginnings
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from tests.conftest import tiny_base, tiny_tokenizer

# Three prompts about one document, two about another, and one about a third.
BEGINNINGS = {"a": list(range(40, 60)), "b": [*range(40, 50), 99, 98], "c": [40, 41, 97]}
DOCUMENTS = ["a", "b", "a", "c", "b", "a"]
RESTS = [[60, 61, 62], [63], [64, 65], [66, 67], [68, 69, 70, 71], [60, 72]]


def asked(documents: list[str] = DOCUMENTS) -> QuestionBatch:
    prompts = [BEGINNINGS[d] + rest for d, rest in zip(documents, RESTS, strict=True)]
    longest = max(map(len, prompts))
    return QuestionBatch(
        method="rag_gold",
        questions=[Question(id=str(row), question="?") for row in range(len(prompts))],
        counted=[True] * len(prompts),
        adapters=[[] for _ in prompts],
        passages=[[RetrievedDocument(d, 1.0)] for d in documents],
        input_ids=torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(i)) + [1] * len(i) for i in prompts]),
        answer_ids=torch.tensor([[80, 81], [82, 0], [83, 84], [85, 86], [87, 0], [88, 89]]),
        answer_lengths=torch.tensor([2, 1, 2, 2, 1, 2]),
    )


@pytest.fixture
def module() -> ParametricRAG:
    module = ParametricRAG(
        tiny_base(), LoraConfig(rank=2), tokenizer=tiny_tokenizer(), max_new_tokens=6
    )
    module.configure_model()
    return module


def route_of(module: ParametricRAG, places: list[int]) -> Route:
    torch.manual_seed(1)
    adapters = 0.3 * torch.randn(3, module.bank.layout.num_params)
    weights = torch.ones(len(places), 1)
    return Route(torch.tensor(places)[:, None], weights, adapters)


@pytest.mark.parametrize("places", [None, [0, 1, 0, 2, 1, 0], [0, 1, 2, 2, 1, 0]])
def test_answers_are_those_of_the_questions_one_by_one(
    module: ParametricRAG, places: list[int] | None
) -> None:
    route = None if places is None else route_of(module, places)
    batch = asked()
    assert find_beginnings(batch, route) is not None
    together = module.answer(batch, route)
    for row in range(len(DOCUMENTS)):
        alone = module.answer(_row(batch, row), route and route.of_rows([row]))
        assert alone.texts == [together.texts[row]]
        torch.testing.assert_close(alone.nll[0], together.nll[row], rtol=1e-4, atol=1e-5)
    assert len(set(together.texts)) > 1


def test_a_beginning_is_read_once_for_all_that_have_it(module: ParametricRAG) -> None:
    read: list[int] = []
    assert module.base is not None
    _ = module.abilities
    module.base.get_decoder().register_forward_pre_hook(
        lambda _, args, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    module.answer(asked(), None)
    # Three beginnings, the longest of 20 tokens, then the rests but their last tokens.
    assert read[:2] == [3 * 20, 6 * 3]


def test_rows_of_other_adapters_share_nothing(module: ParametricRAG) -> None:
    by_document = find_beginnings(asked(), route_of(module, [0, 1, 0, 2, 1, 0]))
    assert by_document is not None
    assert by_document.of_row == [0, 1, 0, 2, 1, 0]
    route = route_of(module, [0, 1, 1, 2, 1, 0])
    apart = find_beginnings(asked(), route)
    assert apart is not None
    assert apart.of_row == [0, 1, 2, 3, 1, 0]
    route.weights[0] = 0.5  # type: ignore[index]
    apart = find_beginnings(asked(), route)
    assert apart is None or apart.of_row == [0, 1, 2, 3, 1, 4]


def test_prompts_that_have_little_in_common_are_read_as_they_are() -> None:
    assert find_beginnings(_row(asked(), 0), None) is None
    strangers = asked()
    strangers.passages = [[RetrievedDocument(str(row), 1.0)] for row in range(6)]
    assert find_beginnings(strangers, None) is None


def test_a_whole_prompt_is_never_a_beginning() -> None:
    batch = asked(["a"] * 6)
    batch.input_ids, batch.attention_mask = (
        t[:1].expand(6, -1) for t in (batch.input_ids, batch.attention_mask)
    )
    found = find_beginnings(batch, None)
    assert found is not None
    assert found.input_ids.shape == (1, 22)
    assert found.batch.input_ids.shape == (6, 23)


def test_a_model_with_windows_shares_nothing() -> None:
    base = tiny_base("qwen2")
    assert can_share(base)
    base.config.use_sliding_window = True
    base.config.sliding_window = 4
    base.config.layer_types = ["full_attention", "sliding_attention"]
    assert not can_share(base)


def _row(batch: QuestionBatch, row: int) -> QuestionBatch:
    names: dict[str, Any] = {
        name: value[row : row + 1]
        for name, value in vars(batch).items()
        if isinstance(value, list | Tensor)
    }
    return QuestionBatch(method=batch.method, **names)
