"""Answers of a local model, of which each row has its own seed."""

from collections import Counter

import pytest
import torch
from transformers import PreTrainedModel

from prag_lightning.augmentation.draft import Request
from prag_lightning.augmentation.seeded_sampling import seeded_sampling
from prag_lightning.augmentation.settings import Sampling
from prag_lightning.augmentation.text_generator import TextGenerator
from tests.conftest import tiny_base, tiny_tokenizer

_REQUESTS = [Request("r", "word " * length, seed=length) for length in (1, 5, 30, 12, 8)]


def _generator(max_new_tokens: int = 24, base: PreTrainedModel | None = None) -> TextGenerator:
    return TextGenerator(
        base or tiny_base(), tiny_tokenizer(), Sampling(max_new_tokens=max_new_tokens)
    )


def test_an_answer_does_not_depend_on_its_neighbours() -> None:
    generator = _generator()
    together = generator.answer(_REQUESTS)
    assert [generator.answer([request])[0] for request in _REQUESTS] == together
    assert generator.answer(_REQUESTS[::-1]) == together[::-1]
    assert len({reply.text for reply in together}) == len(together)


def test_another_seed_gives_another_answer() -> None:
    requests = [Request("r", "word", seed) for seed in range(8)]
    assert len({reply.text for reply in _generator().answer(requests)}) == 8


def test_tokens_come_as_often_as_temperature_top_k_and_top_p_say() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0])
    num_draws = 4000
    scores = logits.repeat(num_draws, 1)
    prompt = torch.LongTensor([[0, 0, 0]] * num_draws)
    draw = seeded_sampling(
        Sampling(temperature=0.5, top_k=4, max_new_tokens=1), 0.97, range(num_draws), 3
    )
    counts = Counter(draw(prompt, torch.FloatTensor(scores)).argmax(1).tolist())
    weights = (logits / 0.5).exp()
    # Of the four likeliest, the last has 0.015 of the probability, which top-p leaves out.
    assert weights[:3].sum() / weights[:4].sum() > 0.97
    expected = weights[:3] / weights[:3].sum()
    assert set(counts) == {0, 1, 2}
    for token, probability in enumerate(expected.tolist()):
        # Four standard deviations.
        margin = 4 * (probability * (1 - probability) / num_draws) ** 0.5
        assert counts[token] / num_draws == pytest.approx(probability, abs=margin)


def test_each_step_has_a_draw_of_its_own() -> None:
    scores = torch.zeros(1, 1000)
    draw = seeded_sampling(Sampling(top_k=0, max_new_tokens=8), None, [3], 2)
    tokens = [
        draw(torch.LongTensor([[0] * length]), torch.FloatTensor(scores)).argmax().item()
        for length in range(2, 10)
    ]
    assert len(set(tokens)) == 8


def test_an_answer_ends_where_the_model_ends_it() -> None:
    base = tiny_base()
    base.generation_config.eos_token_id = list(range(300, 400))
    replies = _generator(60, base).answer(_REQUESTS)
    assert all(not reply.is_cut and reply.usage.num_new_tokens < 60 for reply in replies)
    lengths = {reply.usage.num_new_tokens for reply in replies}
    assert len(lengths) > 1
    assert all(reply.usage.num_prompt_tokens > 0 for reply in replies)


def test_an_answer_that_does_not_end_is_cut() -> None:
    base = tiny_base()
    base.generation_config.eos_token_id = 10**6
    (reply,) = _generator(5, base).answer(_REQUESTS[:1])
    assert reply.is_cut
    assert reply.usage.num_new_tokens == 5


def test_a_prompt_that_is_too_long_is_not_answered_and_its_neighbours_are() -> None:
    generator = _generator(max_new_tokens=8)
    long = Request("r", "word " * 200, seed=1)
    replies = generator.answer([_REQUESTS[0], long, _REQUESTS[1]])
    assert replies[0] == generator.answer([_REQUESTS[0]])[0]
    assert replies[1].problem is not None
    assert "leaves no room for max_new_tokens 8 of the model's 512" in replies[1].problem
    assert replies[2].problem is None
    assert generator.answer([long])[0] == replies[1]
