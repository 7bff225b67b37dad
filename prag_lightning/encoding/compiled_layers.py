"""Running decoder layers by code that is compiled once for each kind of layer, not for each layer.

A whole decoder takes the compiler minutes, for it sees every layer anew. Here it sees one layer of
each kind as a function of its weights, and the others run the same code with theirs.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Pairs, find_target_modules
from prag_lightning.language_model.logits import last_hidden_states
from prag_lightning.language_model.probes import difference, tolerance
from prag_lightning.upstream import keep_size

# The path of the layer that a module belongs to, such as ``model.layers.11``.
_LAYER = re.compile(r"(.+?\.\d+)\.")


class _Layer(NamedTuple):
    """A decoder layer, the first of its kind, and the numbers of their adapted modules."""

    module: nn.Module
    template: nn.Module
    state: dict[str, Tensor]
    own_places: tuple[int, ...]
    template_places: tuple[int, ...]


class CompiledLayers:
    """The decoder layers of a base under a bank.

    Args:
        base: The base model, over which the bank lies.
        bank: Its adapters.

    Raises:
        ValueError: If an adapted module stands in no layer.
    """

    def __init__(self, base: PreTrainedModel, bank: AdapterBank) -> None:
        self.base = base
        self.bank = bank
        self._is_checked = False
        places: dict[str, list[int]] = {}
        for place, (name, _) in enumerate(find_target_modules(base, bank.config.target_modules)):
            match = _LAYER.match(name)
            if match is None:
                raise ValueError(
                    f"model.compile compiles decoder layers, but '{name}' stands in none; leave "
                    "it out"
                )
            places.setdefault(match[1], []).append(place)
        first_of_kind: dict[Any, tuple[nn.Module, tuple[int, ...]]] = {}
        self.layers: list[_Layer] = []
        for path, own in places.items():
            module = base.get_submodule(path)
            # A copy of the layer alone, whose forward is not replaced.
            template, its = first_of_kind.setdefault(_kind(module), (copy(module), tuple(own)))
            state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            self.layers.append(_Layer(module, template, state, tuple(own), its))

    def last_hidden_states(self, pairs: Pairs, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Compute the last hidden states of prompts in rows, within the bank's `routed`.

        Args:
            pairs: ``lora_A`` and ``lora_B`` of each target module, which `routed` gives.
            input_ids: Shape ``(rows, tokens)``.
            position_ids: Shape of ``input_ids``.

        Returns:
            Shape ``(rows, tokens, hidden_size)``.

        Raises:
            ValueError: If the first ones differ from those without the compiler.
        """
        with self._running(pairs):
            hidden = last_hidden_states(self.base, input_ids, position_ids)
        if not self._is_checked:
            with torch.no_grad():
                self.check(last_hidden_states(self.base, input_ids, position_ids), hidden.detach())
        return hidden

    def check(self, expected: Tensor, found: Tensor) -> None:
        """Compare hidden states; a layer's number may matter to more than caches.

        Args:
            expected: Those without the compiler.
            found: Those of compiled code, of the same shape.

        Raises:
            ValueError: If they differ by more than rounding.
        """
        if not expected.isfinite().all():
            return
        self._is_checked = True
        if not (error := difference(expected, found)) < tolerance(self.base):
            raise ValueError(
                f"{type(self.base).__name__} gives other hidden states when its layers are "
                f"compiled (they differ by {error:.2%}); leave --model.compile out"
            )

    @contextmanager
    def _running(self, pairs: Pairs) -> Iterator[None]:
        """Run the layers by compiled code, with these adapters, within the block."""
        # Copies, for the compiler looks at what a view is a view of.
        pairs = [(lora_A.clone(), lora_B.clone()) for lora_A, lora_B in pairs]
        for matrix in (matrix for pair in pairs for matrix in pair):
            # Otherwise two rows and a rank of 2 would be compiled as the same symbol.
            keep_size(matrix, 1)
            keep_size(matrix, 2)
        for layer in self.layers:
            own = (pairs[place] for place in layer.own_places)
            adapters = dict(zip(layer.template_places, own, strict=True))
            layer.module.forward = partial(self._run, layer, adapters)
        try:
            yield
        finally:
            for layer in self.layers:
                del layer.module.forward

    def _run(
        self, layer: _Layer, adapters: dict[int, tuple[Tensor, Tensor]], *args: Any, **kwargs: Any
    ) -> Any:
        return _compiled()(self.bank, layer.template, layer.state, adapters, args, kwargs)


def _kind(layer: nn.Module) -> tuple[Any, ...]:
    """Return all that a layer's code may depend on, but for its number, which caches need."""
    modules = tuple(
        (name, type(module), tuple(sorted(_settings(module).items())))
        for name, module in layer.named_modules()
    )
    tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    return modules, tuple((name, t.shape, t.dtype) for name, t in tensors.items())


def _settings(module: nn.Module) -> dict[str, str]:
    plain = int | float | str | bool | None
    settings = {name: value for name, value in vars(module).items() if isinstance(value, plain)}
    settings.pop("layer_idx", None)
    return {name: repr(value) for name, value in settings.items()}


def _layer_with(
    bank: AdapterBank,
    template: nn.Module,
    state: dict[str, Tensor],
    adapters: dict[int, tuple[Tensor, Tensor]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    bank.compiled_pairs = adapters
    output = torch.func.functional_call(template, state, args, kwargs)
    bank.compiled_pairs = {}
    return output


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(_layer_with, dynamic=True)
