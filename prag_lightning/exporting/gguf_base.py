"""What llama.cpp calls a base model and its layers."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

from transformers import AutoConfig, PreTrainedConfig

from prag_lightning.adapters.store.recipe import Recipe
from prag_lightning.language_model.pretrained import from_pretrained

# llama.cpp's name of a transformers model type, and whether it reorders the rows of queries and
# keys for its own form of rotary positions (undo_permute in llama.cpp's conversion/llama.py).
_ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "smollm3": ("smollm3", True),
    "granite": ("granite", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
    "gemma": ("gemma", False),
    "gemma2": ("gemma2", False),
    "gemma3_text": ("gemma3", False),
    "phi3": ("phi3", False),
}


class GgufBase(NamedTuple):
    """A base model as llama.cpp sees it.

    Args:
        architecture: llama.cpp's name of the architecture.
        tensors: Name of the tensor of each adapted layer, by the layer's name in transformers.
        num_heads: Number of attention heads of each layer whose rows llama.cpp reorders.
    """

    architecture: str
    tensors: Mapping[str, str]
    num_heads: Mapping[str, int]


def read_gguf_base(recipe: Recipe, base: str | None = None) -> GgufBase:
    """Return what llama.cpp calls the base model of a store and its adapted layers.

    Args:
        recipe: Recipe of the store.
        base: Hub name or folder of the base model, whose configuration is read; None means the
            recipe's.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model cannot be exported, or the package gguf is not installed.
    """
    if find_spec("gguf") is None:
        raise ValueError(
            "the package gguf, which writes GGUF files, is not installed; install the extra: "
            "pip install 'prag-lightning[gguf]'"
        )
    config = from_pretrained(AutoConfig, base or recipe.base_model, trust_remote_code=False)
    return gguf_base(config, [module for module, _, _ in recipe.modules])


def gguf_base(config: PreTrainedConfig, modules: Iterable[str]) -> GgufBase:
    """Return what llama.cpp calls the adapted layers of a base model.

    Args:
        config: Configuration of the base model.
        modules: Names of the adapted layers.

    Raises:
        ValueError: If the model, or one of these layers, cannot be exported.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kind = config.model_type
    if kind not in _ARCHITECTURES:
        raise ValueError(
            f"a base model of type '{kind}' cannot be exported to GGUF, only one of "
            f"{', '.join(sorted(_ARCHITECTURES))}; write PEFT folders, and convert those with "
            "llama.cpp's convert_lora_to_gguf.py"
        )
    architecture, reorders = _ARCHITECTURES[kind]
    known = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    if architecture not in known:
        raise ValueError(
            f"the installed package gguf does not know '{architecture}'; pip install --upgrade gguf"
        )
    names = get_tensor_name_map(known[architecture], config.num_hidden_layers)
    tensors = {module: names.get_name(module) for module in modules}
    if unknown := [module for module, name in tensors.items() if name is None]:
        raise ValueError(f"layer '{unknown[0]}' has no counterpart in llama.cpp's '{architecture}'")
    return GgufBase(
        architecture,
        {module: f"{name}.weight" for module, name in tensors.items()},
        _heads(config, tensors) if reorders else {},
    )


def _heads(config: PreTrainedConfig, modules: Iterable[str]) -> dict[str, int]:
    """Return the number of heads of the layers of queries and keys."""
    of_part = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads or config.num_attention_heads,
    }
    parts = {module: module.rpartition(".")[2] for module in modules}
    return {module: of_part[part] for module, part in parts.items() if part in of_part}
