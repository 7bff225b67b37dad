"""What a model says to a batch of questions."""

from itertools import takewhile

import torch

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import generate
from prag_lightning.documents.records import Question
from prag_lightning.language_model.base_model import end_token_ids
from tests.conftest import tiny_base, tiny_tokenizer


def batch(prompts: torch.Tensor) -> QuestionBatch:
    rows = len(prompts)
    questions = [Question(id=str(row), question="?") for row in range(rows)]
    nothing = torch.zeros(rows, 2, dtype=torch.long)
    mask = torch.ones_like(prompts)
    return QuestionBatch(
        "closed_book", questions, [[]] * rows, [[]] * rows, prompts, mask, nothing, nothing
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
    assert generate(base, tokenizer, batch(prompts), length) == tokenizer.batch_decode(
        expected, skip_special_tokens=True
    )


def test_the_tokens_that_end_an_answer_are_the_model_s_and_the_tokenizer_s() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    end = tokenizer.eos_token_id
    for own, expected in ((None, [end]), (7, [end, 7]), ([9, 7, end], [end, 7, 9])):
        base.generation_config.eos_token_id = own
        assert end_token_ids(base, tokenizer) == expected
    tokenizer.eos_token = None
    base.generation_config.eos_token_id = None
    assert end_token_ids(base, tokenizer) == []
