"""How long prompts may be: where tables of positions end, and where RoPE looks at neighbours."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_check import check_base
from prag_lightning.language_model.logits import last_hidden_states
from prag_lightning.language_model.positions import max_positions, prompt_limit
from tests.language_model.architectures import tiny

TABLES = ["gpt2", "gpt_neo", "gpt_bigcode", "opt", "biogpt", "ctrl", "openai-gpt"]
POSITIONS = 64


def read(base: PreTrainedModel, num_tokens: int) -> Tensor:
    with torch.no_grad():
        return last_hidden_states(base, torch.arange(num_tokens)[None] % 400)


@pytest.mark.parametrize("model_type", TABLES)
def test_a_table_of_positions_is_found_and_ends_where_it_is_said_to(model_type: str) -> None:
    base = tiny(model_type, max_position_embeddings=POSITIONS)
    assert max_positions(base) == POSITIONS
    assert check_base(base).max_tokens == POSITIONS
    read(base, POSITIONS)
    with pytest.raises((IndexError, RuntimeError)):
        read(base, POSITIONS + 1)


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "bloom", "mamba", "phi", "gpt_neox"])
def test_a_base_without_a_table_reads_on_beyond_what_it_was_made_for(model_type: str) -> None:
    base = tiny(model_type, max_position_embeddings=POSITIONS)
    assert max_positions(base) is None
    assert prompt_limit(base) == (None, "")
    assert read(base, POSITIONS + 40).isfinite().all()


def packed(base: PreTrainedModel, lengths: tuple[int, int]) -> Tensor:
    """States of the second prompt, always the same, behind a first one of another length."""
    base.set_attn_implementation(SEGMENTED)
    second = torch.arange(300, 300 + lengths[1])
    ids = torch.cat([torch.arange(lengths[0]) % 400, second])[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    with torch.no_grad():
        return last_hidden_states(base, ids, positions, lengths)[0, lengths[0] :]


FACTORS = [1.0 + 0.5 * number for number in range(4)]
ROPES: dict[str, Mapping[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": FACTORS,
        "original_max_position_embeddings": 32,
        "factor": 2.0,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "linear": {"rope_type": "linear", "factor": 4.0},
}


@pytest.mark.parametrize(("kind", "limit"), [("dynamic", POSITIONS), ("longrope", 32)])
def test_rope_that_follows_the_longest_prompt_is_limited_to_where_it_does_not(
    kind: str, limit: int
) -> None:
    rope = {"rope_theta": 10_000.0, **ROPES[kind]}
    base = tiny("llama", max_position_embeddings=POSITIONS, rope_parameters=rope)
    abilities = check_base(base)
    assert (abilities.packs, abilities.max_tokens) == (True, limit)
    assert f"rotary embeddings ({kind}) follow the longest prompt" in abilities.remarks[0]
    short = packed(base, (5, 20))
    assert (packed(base, (limit, 20)) - short).abs().max() < 1e-6
    assert (packed(base, (limit + 1, 20)) - short).norm() > 1e-4 * short.norm()


@pytest.mark.parametrize("kind", ["yarn", "linear"])
def test_rope_of_other_kinds_has_no_limit(kind: str) -> None:
    rope = {"rope_theta": 10_000.0, **ROPES[kind]}
    base = tiny("llama", max_position_embeddings=POSITIONS, rope_parameters=rope)
    assert check_base(base).max_tokens is None
    short = packed(base, (5, 20))
    assert (packed(base, (POSITIONS + 50, 20)) - short).abs().max() < 1e-6


def test_positions_that_change_how_others_are_read_are_found_whatever_they_are_called() -> None:
    base = tiny("llama", max_position_embeddings=POSITIONS)

    def follow(
        module: object, args: tuple[Tensor], given: dict[str, Tensor]
    ) -> tuple[tuple[Tensor], dict[str, Tensor]]:
        positions = given["position_ids"]
        return args, {"position_ids": positions * (1 + positions.max() // (POSITIONS - 1))}

    rope: nn.Module = base.get_decoder().rotary_emb
    rope.register_forward_pre_hook(follow, with_kwargs=True)
    with pytest.raises(ValueError, match="how it reads a prompt depends on how long the others"):
        check_base(base)


def test_rope_of_layers_of_one_kind_counts() -> None:
    base = tiny("gemma3_text", max_position_embeddings=POSITIONS)
    base.config.rope_parameters["full_attention"].update(rope_type="dynamic", factor=2.0)
    assert prompt_limit(base)[0] == POSITIONS
