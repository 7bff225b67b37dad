"""A real llama.cpp, and base models for it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast


class LlamaServer:
    """llama.cpp's server within this process, with adapters that each request weighs.

    Args:
        base: GGUF file of the base model.
        adapters: GGUF files of adapters.
    """

    def __init__(self, base: Path, adapters: Sequence[Path]) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(base)
        params.n_ctx = 512
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = False
        params.verbosity = 0
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.lora_init_without_apply = True
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(f), 0.0) for f in adapters]
        self._server = xllamacpp.Server(params)

    def ask(self, ids: Sequence[int], scales: Sequence[float], **options: Any) -> dict[str, Any]:
        """Return the server's greedy completion of a prompt.

        Args:
            ids: Tokens of the prompt.
            scales: Weight of each adapter.
            options: More fields of the request.
        """
        request = {
            "prompt": list(ids),
            "temperature": 0,
            "cache_prompt": False,
            "lora": [{"id": number, "scale": scale} for number, scale in enumerate(scales)],
            **options,
        }
        answer: dict[str, Any] = self._server.handle_completions(request)
        return answer


def write_llama(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, file: Path) -> None:
    """Write a Llama as a GGUF file in float32, as llama.cpp's ``convert_hf_to_gguf.py`` does."""
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        part = name.split(".")[-2]
        tensor = rows_for_llama_cpp(tensor, heads[part]) if part in heads else tensor
        ours = names.get_name(name, try_suffixes=(".weight",))
        assert ours is not None
        writer.add_tensor(ours, tensor.float().contiguous().numpy())
    _finish(writer)


def rows_for_llama_cpp(weight: Tensor, num_heads: int) -> Tensor:
    """Return the rows of queries or keys so that those rotated together are neighbours."""
    head_dim = len(weight) // num_heads
    order = [
        head * head_dim + pair + half
        for head in range(num_heads)
        for pair in range(head_dim // 2)
        for half in (0, head_dim // 2)
    ]
    return weight[order]


def _add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, vocab_size: int
) -> None:
    vocabulary: Mapping[int, str] = {i: token for token, i in tokenizer.get_vocab().items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([vocabulary.get(i, f"[unused{i}]") for i in range(vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * vocab_size)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(vocab_size - 1)


def write_float32(source: Path, file: Path) -> None:
    """Write the model of a GGUF file with weights in float32 that have the values of bfloat16."""
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field("general.architecture")
    assert architecture is not None
    writer = gguf.GGUFWriter(file, architecture.contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in (
            "general.architecture",
            "general.file_type",
        ):
            kinds = field.types
            is_list = kinds[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(name, field.contents(), kinds[0], kinds[-1] if is_list else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, torch.from_numpy(weight).bfloat16().float().numpy())
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
