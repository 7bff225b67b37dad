"""Small random models of every common architecture, built in memory."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

SIZES: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_HEADS = {"head_dim": 8}
_WINDOW = {"sliding_window": 8}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {
    "num_key_value_heads": 4,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
# What a config has beside the sizes, by its model type.
_SETTINGS: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.25},
    "deepseek_v2": {**_LATENT, **_EXPERTS},
    "deepseek_v3": {**_LATENT, **_EXPERTS},
    "doge": {"keep_window_size": 8, **_WINDOW},
    "gemma": _HEADS,
    "gemma2": {"final_logit_softcapping": 1.0, "attn_logit_softcapping": 5.0, **_HEADS, **_WINDOW},
    "gemma3_text": {**_HEADS, **_WINDOW},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_oss": {"num_local_experts": 4, **_HEADS, **_WINDOW},
    "granite": {"logits_scaling": 8.0},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "llama4_text": {
        "num_local_experts": 4,
        "intermediate_size_mlp": 64,
        "attention_chunk_size": 8,
        **_HEADS,
    },
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mistral": _WINDOW,
    "mixtral": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phimoe": {"num_local_experts": 4, **_WINDOW},
    "qwen2_moe": {
        "num_experts": 4,
        "shared_expert_intermediate_size": 32,
        "use_sliding_window": True,
        "max_window_layers": 1,
        **_WINDOW,
        **_EXPERTS,
    },
    "qwen3": _HEADS,
    "qwen3_moe": {"num_experts": 4, **_HEADS, **_EXPERTS},
    "starcoder2": _WINDOW,
}
# Sizes that their configs do not know.
_UNKNOWN = {"gpt_neo": ("num_key_value_heads",)}


def tiny(model_type: str, **settings: Any) -> PreTrainedModel:
    """Return a small random model whose layers say enough for their mistakes to show.

    Args:
        model_type: As in ``config.json``.
        settings: Changes of its config.
    """
    wanted = {**SIZES, **_SETTINGS.get(model_type, {}), **settings}
    for name in _UNKNOWN.get(model_type, ()):
        del wanted[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **wanted)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.shape[0] != SIZES["vocab_size"]:
            # As drawn, attention adds next to nothing.
            parameter.data.mul_(3)
    model.eval()
    return model
