"""The adapter bank: many LoRA adapters over one frozen base model, any mix of them in a batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.lora import add_to_rows, add_to_segments


@dataclass(frozen=True)
class Route:
    """Which slots, with which weights, each row of a batch uses.

    Args:
        slots: Shape ``(rows, k)``, integers.
        weights: Shape ``(rows, k)``; None stands for 1 everywhere.
        lengths: Where the rows stand one behind the other in a single packed row, their lengths
            in tokens; only with ``k = 1`` and no weights. None where each row is a row.
    """

    slots: Tensor
    weights: Tensor | None = None
    lengths: tuple[int, ...] | None = None


class AdapterBank(nn.Module):
    """Adapters stacked in slots, added to the target modules of a base model by forward hooks.

    A row ``x`` (tokens, in_features) of a batch with a route gains in every target module
    ``sum_j weights[j] * alpha / rank * (x @ lora_A[slots[j]].T) @ lora_B[slots[j]].T``. Nothing of
    the base is replaced, so it may be of any kind of linear layer, quantized ones included.

    Args:
        base: The model whose layers are adapted. Its parameters are frozen.
        config: Rank, scaling and target modules.
        num_slots: How many adapters are resident.
        dtype: Of the adapters, kept whatever the base is converted to.

    Attributes:
        weight: All adapters, shape ``(num_slots, num_params)``; one row is one adapter, in the
            order of ``layout``. The matrices that train are views of it.
        grad: Its gradient, likewise.

    Raises:
        ValueError: If the base has no linear layer of one of the target names.
    """

    weight: nn.Parameter
    grad: Tensor

    def __init__(
        self,
        base: nn.Module,
        config: LoraConfig,
        num_slots: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        base.requires_grad_(False)
        targets = find_target_modules(base, config.target_modules)
        self.config = config
        self.layout = AdapterLayout(
            tuple((name, m.in_features, m.out_features) for name, m in targets), config.rank
        )
        device = next(base.parameters()).device
        self.weight = nn.Parameter(
            torch.zeros(num_slots, self.layout.num_params, dtype=dtype, device=device)
        )
        self._bind()
        self._route: Route | None = None
        self._gathered: list[tuple[Tensor, Tensor]] | None = None
        self._hooks = [
            module.register_forward_hook(partial(self._add_update, index))
            for index, (_, module) in enumerate(targets)
        ]

    @property
    def num_slots(self) -> int:
        """How many adapters are resident."""
        return len(self.weight)

    def remove(self) -> None:
        """Take the bank off its base model, which is then as it was before."""
        for hook in self._hooks:
            hook.remove()

    @torch.inference_mode(False)
    def resize(self, num_slots: int) -> None:
        """Make room for ``num_slots`` adapters; all slots are empty afterwards."""
        self.weight = nn.Parameter(self.weight.new_zeros(num_slots, self.layout.num_params))
        self._bind()

    @torch.no_grad()
    def load(self, slot: int, row: Tensor) -> None:
        """Put an adapter, shape ``(num_params,)``, into a slot."""
        self.weight[slot].copy_(row)

    def export(self, slot: int) -> Tensor:
        """Return a copy of a slot's adapter, shape ``(num_params,)``, float32 on the CPU."""
        return self.weight.detach()[slot].to("cpu", torch.float32, copy=True)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero the gradient in place, for the matrices' gradients are views of it."""
        self.grad.zero_()
        # Lightning takes gradients off the parameters when a fit begins.
        self.weight.grad = self.grad

    @contextmanager
    def routed(self, route: Route) -> Iterator[None]:
        """Run the base model with adapters: within, a batch must have the route's rows."""
        self._route = route
        if not torch.is_grad_enabled():
            self._gathered = self._gather_all(route)
        try:
            yield
        finally:
            self._route = self._gathered = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AdapterBank":
        """Follow the base model to another device, but keep the dtype: adapters stay precise."""
        device = fn(self.weight.new_empty(0)).device
        super()._apply(lambda tensor: tensor.to(device), recurse)
        self._bind()
        return self

    @torch.inference_mode(False)
    def _bind(self) -> None:
        """Make the per-module matrices views of the flat weight, and their gradients of its."""
        weight = self.weight.detach()
        self.weight.grad = self.grad = grad = torch.zeros_like(weight)
        self._matrices: list[Tensor] = []
        for matrix in self.layout.matrices:
            shape = (len(weight), *matrix.shape)
            leaf = weight[:, matrix.start : matrix.stop].view(shape).requires_grad_()
            leaf.grad = grad[:, matrix.start : matrix.stop].view(shape)
            self._matrices.append(leaf)

    def _add_update(
        self, index: int, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        if self._route is None:
            return None
        x, route = inputs[0], self._route
        lora_A, lora_B = self._matrices[2 * index], self._matrices[2 * index + 1]
        scaling = self.config.scaling
        if route.lengths is not None:
            return add_to_segments(output, x, lora_A, lora_B, route.slots, route.lengths, scaling)
        if self._gathered is not None:
            lora_A, lora_B = self._gathered[index]
        else:
            lora_A, lora_B = gather(lora_A, lora_B, route)
        return add_to_rows(output, x, lora_A, lora_B, scaling)

    def _gather_all(self, route: Route) -> list[tuple[Tensor, Tensor]] | None:
        """Gather once for the many forward passes of a generation."""
        if route.lengths is not None:
            return None
        pairs = zip(self._matrices[::2], self._matrices[1::2], strict=True)
        return [gather(lora_A, lora_B, route) for lora_A, lora_B in pairs]


def gather(lora_A: Tensor, lora_B: Tensor, route: Route) -> tuple[Tensor, Tensor]:
    """Return each row's adapters side by side, which is their weighted sum.

    Args:
        lora_A: Shape ``(num_slots, rank, in_features)``.
        lora_B: Shape ``(num_slots, out_features, rank)``.
        route: Of ``rows`` rows with ``k`` slots each.

    Returns:
        ``lora_A`` of shape ``(rows, k * rank, in_features)`` and ``lora_B`` of shape
        ``(rows, out_features, k * rank)``.
    """
    rows, k = route.slots.shape
    flat = route.slots.reshape(-1)
    if k == 1 and route.weights is None:
        return lora_A.index_select(0, flat), lora_B.index_select(0, flat)
    gathered_A = lora_A.index_select(0, flat).view(rows, -1, lora_A.shape[-1])
    gathered_B = lora_B.index_select(0, flat).view(rows, k, *lora_B.shape[1:])
    if route.weights is not None:
        gathered_B = gathered_B * route.weights[:, :, None, None].to(gathered_B.dtype)
    return gathered_A, gathered_B.transpose(1, 2).reshape(rows, lora_B.shape[1], -1)


def find_target_modules(
    base: nn.Module, target_modules: tuple[str, ...]
) -> list[tuple[str, nn.Linear]]:
    """Return the linear layers whose name ends in one of ``target_modules``, with their names.

    Raises:
        ValueError: If a target name fits no linear layer; names those that there are.
    """
    # Quantized layers (bitsandbytes) are subclasses of nn.Linear.
    linear = [(name, m) for name, m in base.named_modules() if isinstance(m, nn.Linear)]
    found = [(name, m) for name, m in linear if name.rpartition(".")[2] in target_modules]
    names = {name.rpartition(".")[2] for name, _ in linear}
    if missing := set(target_modules) - names:
        raise ValueError(
            f"target module '{min(missing)}' is no linear layer of {type(base).__name__}; "
            f"it has {', '.join(sorted(names))}"
        )
    return found
