"""Answers of a local model, of which each row has its own seed."""

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from prag_lightning.augmentation import text_generator
from prag_lightning.augmentation.repetition import EndlessRepetition
from prag_lightning.augmentation.requests import Example, Request
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
        Sampling(temperature=0.5, top_k=4, top_p=0.97), 1, range(num_draws), num_prompt_tokens=3
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
    draw = seeded_sampling(Sampling(top_k=0), 8, [3], num_prompt_tokens=2)
    tokens = [
        draw(torch.LongTensor([[0] * length]), torch.FloatTensor(scores)).argmax().item()
        for length in range(2, 10)
    ]
    assert len(set(tokens)) == 8


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 20},
        {"top_p": 0.1},
        {"top_k": 1},
        {"min_p": 0.5},
        {"bad_words_ids": [[number] for number in range(5, 300)]},
        {"suppress_tokens": list(range(5, 300))},
        {"forced_eos_token_id": 9},
        {"exponential_decay_length_penalty": (1, 9.0)},
        {"sequence_bias": [[[7], 50.0]]},
        {"num_return_sequences": 2},
        {"num_beams": 3},
        {"return_dict_in_generate": True},
        {"stop_strings": ["a"]},
        {"prompt_lookup_num_tokens": 3},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"do_sample": True, "temperature": 9.0},
        {"max_length": 3},
    ],
    ids=lambda own: next(iter(own)),
)
def test_a_models_own_generation_config_has_no_say(own: dict[str, Any]) -> None:
    expected = _generator().answer(_REQUESTS)
    base = tiny_base()
    for name, value in own.items():
        setattr(base.generation_config, name, value)
    before = base.generation_config.to_dict()
    assert _generator(base=base).answer(_REQUESTS) == expected
    # The config itself is left as it was.
    assert base.generation_config.to_dict() == before


def test_a_penalty_in_the_config_would_change_answers_if_it_had_a_say() -> None:
    expected = _generator().answer(_REQUESTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_generator, "_neutral_generation", lambda model: nullcontext())
        base = tiny_base()
        base.generation_config.repetition_penalty = 1.8
        assert _generator(base=base).answer(_REQUESTS) != expected


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("pad", [None, "<|pad|>"])
def test_a_tokenizer_without_end_or_padding_serves(chat: bool, pad: str | None) -> None:
    tokenizer = tiny_tokenizer(chat)
    tokenizer.eos_token = None
    tokenizer.pad_token = pad
    base = tiny_base()
    base.generation_config.eos_token_id = None
    generator = TextGenerator(base, tokenizer, Sampling(max_new_tokens=8))
    replies = generator.answer(_REQUESTS)
    assert [generator.answer([request])[0] for request in _REQUESTS] == replies
    assert all(reply.is_cut and reply.usage.num_new_tokens == 8 for reply in replies)


def test_a_padding_token_beyond_the_embedding_does_no_harm() -> None:
    tokenizer = tiny_tokenizer()
    expected = TextGenerator(tiny_base(), tokenizer, Sampling(max_new_tokens=8)).answer(_REQUESTS)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<{n}>" for n in range(300)]})
    tokenizer.pad_token = "<299>"
    base = tiny_base()
    assert tokenizer.pad_token_id >= base.config.vocab_size
    assert TextGenerator(base, tokenizer, Sampling(max_new_tokens=8)).answer(_REQUESTS) == expected


def test_examples_change_the_answer_with_and_without_a_chat_template() -> None:
    plain, shown = Request("r", "word", 3), Request("r", "word", 3, (Example("one", "two"),))
    for chat in (True, False):
        generator = TextGenerator(tiny_base(), tiny_tokenizer(chat), Sampling(max_new_tokens=12))
        alone, with_example = generator.answer([plain, shown])
        assert alone != with_example
        assert with_example.usage.num_prompt_tokens > alone.usage.num_prompt_tokens


def test_an_endless_repetition_is_cut_short_and_its_neighbours_go_on() -> None:
    prompt = torch.tensor([[1, 2, 3]] * 4)
    circle = torch.tensor([7, 8, 9] * 40)
    once = torch.arange(120)
    late = torch.cat([torch.arange(40), torch.tensor([5] * 80)])
    almost = torch.cat([circle[:-1], torch.tensor([1])])
    rows = torch.cat([prompt, torch.stack([circle, once, late, almost])], dim=1)
    repetition = EndlessRepetition(num_prompt_tokens=3)
    first: dict[int, int] = {}
    for length in range(4, rows.shape[1] + 1):
        ends = repetition(rows[:, :length], torch.empty(0))
        for row in ends.nonzero().flatten().tolist():
            first.setdefault(row, length - 3)
    # Row 3 goes round until its last token, and is ended before that.
    assert first == {0: 96, 2: 112, 3: 96}
    assert repetition.lengths == first


def test_an_answer_that_repeats_itself_ends_before_its_greatest_length() -> None:
    base = tiny_base()
    base.config.max_position_embeddings = 4096
    # Without chance, a small random model soon goes round in a circle.
    generator = TextGenerator(base, tiny_tokenizer(), Sampling(top_k=1, max_new_tokens=400))
    (reply,) = generator.answer(_REQUESTS[:1])
    assert reply.is_cut
    assert 64 < reply.usage.num_new_tokens < 400


def test_short_and_long_answers_are_asked_for_side_by_side() -> None:
    base = tiny_base()
    base.generation_config.eos_token_id = None
    base.config.max_position_embeddings = 4096
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    generator = TextGenerator(base, tokenizer, Sampling(max_new_tokens=160))
    requests = [Request("r", "word", n, is_short=n % 2 == 0) for n in range(4)]
    replies = generator.answer(requests)
    assert [reply.usage.num_new_tokens for reply in replies] == [128, 160, 128, 160]


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
    assert "leaves no room for 8 new ones of the model's 512" in replies[1].problem
    assert replies[2].problem is None
    assert generator.answer([long])[0] == replies[1]
