"""Small models and tokenizers, built in memory."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM


def tiny_base(architecture: str = "llama", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a small random language model of 2 layers."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    if architecture == "llama":
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**sizes))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    return model.to(dtype).eval()


@pytest.fixture
def base() -> PreTrainedModel:
    return tiny_base()
