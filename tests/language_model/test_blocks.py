"""What decoder blocks put out, against transformers' own record of hidden states."""

import pytest
import torch

from prag_lightning.language_model.blocks import decoder_blocks, recorded_blocks
from prag_lightning.language_model.logits import last_hidden_states
from tests.language_model.architectures import tiny


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mixtral"])
def test_the_states_of_blocks_are_those_that_transformers_records(model_type: str) -> None:
    base = tiny(model_type)
    ids = torch.arange(3, 23).view(2, 10)
    places = torch.tensor([1, 9, 14])
    with recorded_blocks(base, (0, -1), places) as states:
        last_hidden_states(base, ids)
    assert not any(block._forward_hooks for block in decoder_blocks(base))
    every = base(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(states[0], every[1].flatten(0, 1)[places])
    # transformers' last record is behind the norm.
    assert not torch.allclose(states[1], every[-1].flatten(0, 1)[places])


def test_blocks_that_are_not_there_are_refused() -> None:
    base = tiny("llama")
    for number in (2, -3):
        with (
            pytest.raises(ValueError, match=f"no decoder block {number}; the base has 2"),
            recorded_blocks(base, (0, number), torch.tensor([0])),
        ):
            pass
    base.model.layers = torch.nn.ModuleList()
    with pytest.raises(ValueError, match="LlamaForCausalLM has no list of 2 decoder blocks"):
        decoder_blocks(base)
