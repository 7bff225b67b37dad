"""What a model says to a batch of questions."""

from itertools import takewhile
from typing import Any

import pytest
import torch

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import answer_alone, answer_questions
from prag_lightning.documents.records import Question
from prag_lightning.language_model.base_model import end_token_ids
from tests.conftest import tiny_base, tiny_tokenizer


def batch(prompts: torch.Tensor) -> QuestionBatch:
    rows = len(prompts)
    questions = [Question(id=str(row), question="?") for row in range(rows)]
    nothing = torch.zeros(rows, 0, dtype=torch.long)
    mask = torch.ones_like(prompts)
    return QuestionBatch(
        method="closed_book",
        questions=questions,
        counted=[True] * rows,
        adapters=[[]] * rows,
        passages=[[]] * rows,
        input_ids=prompts,
        attention_mask=mask,
        answer_ids=nothing,
        answer_lengths=nothing.sum(dim=1),
    )


def test_an_answer_ends_at_any_of_the_tokens_that_end_one() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    prompts = torch.arange(40, 80).view(8, 5)
    length = 12
    endless = base.generate(  # type: ignore[operator]
        prompts, max_new_tokens=length, do_sample=False, eos_token_id=None
    )[:, 5:].tolist()
    # One token that is said in some answers, and one of others.
    first, second = endless[0][4], endless[3][2]
    assert first != second
    base.generation_config.eos_token_id = [first, second]
    ends = {first, second, tokenizer.eos_token_id}
    expected = [list(takewhile(lambda token: token not in ends, row)) for row in endless]
    assert {len(row) for row in expected} >= {2, 4, length}
    answers = answer_questions(base, tokenizer, batch(prompts), length)
    assert answers.texts == tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert answers.nll.isnan().all()


STEERING: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"exponential_decay_length_penalty": (1, 1.5)},
    {"bad_words_ids": [[5], [6]]},
    {"suppress_tokens": list(range(40, 200))},
]


@pytest.mark.parametrize("settings", [*STEERING, {"return_dict_in_generate": True}])
def test_a_generation_config_that_comes_with_the_base_steers_no_answer(
    settings: dict[str, Any],
) -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    prompts = torch.arange(40, 80).view(8, 5)
    plain = answer_questions(base, tokenizer, batch(prompts), 12).texts
    base.generation_config.update(**settings)
    assert answer_questions(base, tokenizer, batch(prompts), 12).texts == plain
    steered = answer_questions(base, tokenizer, batch(prompts), 12, decoding="base").texts
    assert (steered != plain) == (settings in STEERING)


def test_an_answer_s_likelihood_is_that_of_its_tokens_behind_the_prompt() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    prompts = [[50, 51, 52, 53, 54], [60, 61], [70]]
    answers = [[80, 81, 82], [90], []]
    ids = torch.tensor([[0] * (5 - len(row)) + row for row in prompts])
    asked = batch(ids)
    asked.attention_mask = torch.tensor([[0] * (5 - len(row)) + [1] * len(row) for row in prompts])
    asked.answer_ids = torch.tensor([row + [0] * (3 - len(row)) for row in answers])
    asked.answer_lengths = torch.tensor([len(row) for row in answers])
    nll = answer_questions(base, tokenizer, asked, 4).nll
    for row in (0, 1):
        with torch.no_grad():
            logits = base(input_ids=torch.tensor([prompts[row] + answers[row]])).logits[0]
        places = range(len(prompts[row]) - 1, len(prompts[row]) + len(answers[row]) - 1)
        expected = torch.nn.functional.cross_entropy(
            logits[list(places)], torch.tensor(answers[row])
        )
        torch.testing.assert_close(nll[row], expected, rtol=1e-5, atol=1e-5)
    assert nll[2].isnan()


def test_each_token_of_a_prompt_is_read_once() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    asked = batch(torch.arange(40, 80).view(8, 5))
    asked.answer_ids = torch.full((8, 2), 9)
    asked.answer_lengths = torch.full((8,), 2)
    read = 0

    def count(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        nonlocal read
        read += inputs["input_ids"].numel()

    base.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
    answer_questions(base, tokenizer, asked, 1)
    # The first four tokens once, the last for the answer's likelihood and for what is said.
    assert read == 8 * (4 + 2 + 1)


def test_the_tokens_that_end_an_answer_are_the_model_s_and_the_tokenizer_s() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    end = tokenizer.eos_token_id
    for own, expected in ((None, [end]), (7, [end, 7]), ([9, 7, end], [end, 7, 9])):
        base.generation_config.eos_token_id = own
        assert end_token_ids(base, tokenizer) == expected
    tokenizer.eos_token = None
    base.generation_config.eos_token_id = None
    assert end_token_ids(base, tokenizer) == []


def test_a_question_asked_alone_is_answered_as_in_a_batch() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    asked = batch(torch.tensor([[50, 51, 52, 53, 54], [0, 0, 0, 60, 61], [0, 0, 0, 0, 70]]))
    asked.attention_mask = (asked.input_ids > 0).long()
    asked.answer_ids = torch.tensor([[80, 81, 82], [90, 0, 0], [0, 0, 0]])
    asked.answer_lengths = torch.tensor([3, 1, 0])
    base.generation_config.update(repetition_penalty=1.5)
    own_config = base.generation_config
    together = answer_questions(base, tokenizer, asked, 8)
    alone = [answer_alone(base, tokenizer, asked, row, 8) for row in range(3)]
    assert [answers.texts[0] for answers in alone] == together.texts
    torch.testing.assert_close(
        torch.cat([answers.nll for answers in alone]), together.nll, equal_nan=True
    )
    assert base.generation_config is own_config
    steered = answer_alone(base, tokenizer, asked, 0, 8, decoding="base")
    assert steered.texts != alone[0].texts
