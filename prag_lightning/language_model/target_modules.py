"""Choosing the linear layers of a base model that get adapters by default."""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prag_lightning.language_model.logits import decoder_of, last_hidden_states

_ATTENTION = re.compile("att(entio)?n", re.IGNORECASE)
_MLP = re.compile("mlp|feed_?forward|ffn", re.IGNORECASE)
# Layers that mix tokens or choose experts.
_OTHERS = re.compile("shortconv|mixer|recurrent|deltanet|router", re.IGNORECASE)


def default_target_modules(base: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of a base's MLP layers, as ``LoraConfig`` and PEFT take them.

    Published adapters are in the MLP (Su et al. 2025, arXiv:2501.15915). For mixtures of experts
    the names are those of the attention layers: transformers stores all experts in one tensor, and
    PEFT would apply names of layers next to the experts to these. For Mamba, which has neither, it
    is the first projection, the only one that its kernels do not bypass.

    Raises:
        ValueError: If the base has none of these layers.
    """
    layers = _linear_layers(base)
    attention = [name for name, around in layers.items() if _ATTENTION.search(around)]
    others = [name for name, around in layers.items() if _OTHERS.search(around)]
    rest = layers.keys() - {*attention, *others}
    mlp = [name for name in rest if _MLP.search(layers[name])]
    first = [name for name in others if name.endswith(".in_proj")]
    if chosen := (attention if _has_experts(base) else mlp or rest or attention or first):
        return _suffixes(chosen, layers.keys() - chosen)
    raise ValueError(
        f"{type(base).__name__} has no layers that adapters usually go into; name in "
        "target_modules those to adapt"
    )


@torch.no_grad()
def check_target_modules(base: PreTrainedModel, target_modules: Sequence[str]) -> None:
    """Check that each layer processes every token of every row once, as adapters require.

    This fails for experts, which process only some tokens, and for layers that fast kernels bypass.

    Args:
        base: The language model.
        target_modules: Trailing parts of the layers' names.

    Raises:
        ValueError: If a layer processes other tokens or none; the message names it.
    """
    num_tokens: dict[str, int] = {}

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        num_tokens[name] = num_tokens.get(name, 0) + output.shape[:-1].numel()

    ends = tuple(f".{target}" for target in target_modules)
    targets = [name for name in _linear_layers(base) if f".{name}".endswith(ends)]
    hooks = [
        base.get_submodule(name).register_forward_hook(partial(count, name)) for name in targets
    ]
    try:
        ids = torch.arange(2 * 5, device=base.device).view(2, 5)
        last_hidden_states(base, ids)
    finally:
        for hook in hooks:
            hook.remove()
    wrong = [name for name in targets if num_tokens.get(name, 0) != ids.numel()]
    if wrong:
        raise ValueError(
            f"'{wrong[0]}' of {type(base).__name__} cannot be adapted: it is given "
            f"{num_tokens.get(wrong[0], 0)} of {ids.numel()} tokens; name others in target_modules"
        )


def _has_experts(base: PreTrainedModel) -> bool:
    return any(
        parameter.dim() == 3 and not isinstance(module, nn.Conv1d)
        for module in decoder_of(base).modules()
        for parameter in module.parameters(recurse=False)
    )


def _linear_layers(base: PreTrainedModel) -> dict[str, str]:
    """Return the decoder's linear layers by name, with the classes of the modules around them."""
    classes = {name: type(module).__name__ for name, module in base.named_modules()}
    inside = {id(module) for module in decoder_of(base).modules()}
    layers = {}
    for name, module in base.named_modules():
        # Layers outside the numbered blocks lead into the first block or out of the last one.
        numbered = re.match(r".*?\.\d+(?=\.)", name)
        if isinstance(module, nn.Linear | Conv1D) and id(module) in inside and numbered:
            parts = name[numbered.end() + 1 :].split(".")
            paths = (".".join(parts[: n + 1]) for n in range(len(parts)))
            layers[name] = " ".join(classes[f"{numbered.group()}.{path}"] for path in paths)
    return layers


def _suffixes(chosen: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    """Return the shortest name suffixes that match all of ``chosen`` and none of ``others``."""
    found = set()
    for name in chosen:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            suffix = ".".join(parts[-length:])
            is_shared = any(f".{other}".endswith(f".{suffix}") for other in others)
            if not is_shared and not parts[-length].isdigit():
                found.add(suffix)
                break
    return tuple(sorted(found))
