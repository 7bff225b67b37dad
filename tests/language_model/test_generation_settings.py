from typing import Any

import pytest
from transformers import GenerationConfig

from prag_lightning.language_model.base_model import load_base
from prag_lightning.language_model.generation_settings import own_generation_settings
from tests.conftest import tiny_base


def own(**settings: Any) -> dict[str, Any]:
    base = tiny_base()
    base.generation_config = GenerationConfig()
    # Past its own checks, as a file's content is.
    vars(base.generation_config).update(settings)
    return own_generation_settings(base)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 1.1),
        ("encoder_repetition_penalty", 0.9),
        ("no_repeat_ngram_size", 1),
        ("min_new_tokens", 1),
        ("min_length", 5),
        ("num_beams", 4),
        ("num_return_sequences", 2),
        ("suppress_tokens", [3]),
        ("begin_suppress_tokens", [3]),
        ("forced_eos_token_id", 3),
        ("forced_bos_token_id", 3),
        ("bad_words_ids", [[3]]),
        ("sequence_bias", [[[3], -1.0]]),
        ("stop_strings", ["\n"]),
        ("prompt_lookup_num_tokens", 3),
        ("dola_layers", "high"),
        ("penalty_alpha", 0.6),
        ("guidance_scale", 1.5),
        ("exponential_decay_length_penalty", [5, 1.1]),
    ],
)
def test_what_steers_greedy_answers_is_named(name: str, value: Any) -> None:
    assert own(**{name: value}) == {name: value}


def test_what_does_not_steer_greedy_answers_is_not_named() -> None:
    # As chat models ship it.
    shipped = {
        "bos_token_id": 1,
        "do_sample": True,
        "eos_token_id": [2, 3],
        "max_length": 4096,
        "pad_token_id": 0,
        "repetition_penalty": 1.0,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.9,
        "num_beams": 1,
        "no_repeat_ngram_size": 0,
        "use_cache": True,
    }
    assert own(**shipped) == own_generation_settings(load_base("demo")) == {}


def test_a_base_without_a_generation_config_steers_nothing() -> None:
    base = tiny_base()
    base.generation_config = None  # type: ignore[assignment]
    assert own_generation_settings(base) == {}
