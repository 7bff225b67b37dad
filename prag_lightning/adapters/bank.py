"""The adapter bank: many LoRA adapters over one frozen base model, any mix of them in a batch."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.lora import add_to_rows, add_to_segments
from prag_lightning.upstream import DeviceOnlyModule

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Route:
    """Which slots, with which weights, each row of a batch uses.

    Args:
        slots: Slots that each row uses, shape ``(rows, k)``, integers.
        weights: Weights of those adapters, shape ``(rows, k)``; None means 1 everywhere.
        adapters: Adapters that ``slots`` indexes, shape ``(n, num_params)``; None means the bank's.
        lengths: Token counts of the segments if all rows are packed one after another into a single
            row; None if they are not packed.
    """

    slots: Tensor
    weights: Tensor | None = None
    adapters: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def of_rows(self, rows: list[int]) -> "Route":
        """Return the route of a subset of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, slots=self.slots[rows], weights=weights)


class _ActiveRoutes(threading.local):
    """The adapters that each bank applies, kept per thread so that threads can share a model."""

    def __init__(self) -> None:
        self.of_bank: dict[int, tuple[Pairs, tuple[int, ...] | None]] = {}


_ACTIVE = _ActiveRoutes()


class AdapterBank(DeviceOnlyModule, nn.Module):
    """Adapters stacked in slots, added to the target modules of a base model by forward hooks.

    For each target module, a routed row ``x`` of shape (tokens, in_features) adds
    ``sum_j weights[j] * alpha / rank * (x @ lora_A[slots[j]].T) @ lora_B[slots[j]].T``. No module
    of the base is replaced, so any kind of linear layer works, quantized ones included.

    Args:
        base: The model whose layers are adapted. Its parameters are frozen.
        config: Rank, scaling and target modules.
        num_slots: Number of resident adapters.
        dtype: Dtype of the adapters; converting the base does not change it.

    Attributes:
        weight: All adapters, shape ``(num_slots, num_params)``; one row is one adapter, in the
            order of ``layout``.
        compiled_pairs: ``lora_A`` and ``lora_B`` that compiled code adds to its rows, by the target
            module's number; empty if `routed` sets the adapters.

    Raises:
        ValueError: If the base has no linear layer with one of the target names, or one is its
            head.
    """

    weight: nn.Parameter

    def __init__(
        self,
        base: PreTrainedModel,
        config: LoraConfig,
        num_slots: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        base.requires_grad_(False)
        targets = find_target_modules(base, config.target_modules)
        self.config = config
        self.layout = AdapterLayout(
            tuple((name, *feature_sizes(module)) for name, module in targets), config.rank
        )
        # Wrapped in a tuple so that it is not registered as a parameter of the bank.
        self._base_parameter = (next(p for p in base.parameters() if p.is_floating_point()),)
        device = self._base_parameter[0].device
        self.weight = nn.Parameter(
            torch.zeros(num_slots, self.layout.num_params, dtype=dtype, device=device)
        )
        self.compiled_pairs: dict[int, tuple[Tensor, Tensor]] = {}
        for index, (_, module) in enumerate(targets):
            module.register_forward_hook(partial(self._add_update, index))

    @property
    def num_slots(self) -> int:
        """Number of resident adapters."""
        return len(self.weight)

    @property
    def grad(self) -> Tensor:
        """Gradient of ``weight`` after a backward pass."""
        assert self.weight.grad is not None
        return self.weight.grad

    @torch.inference_mode(False)
    def resize(self, num_slots: int) -> None:
        """Reallocate the bank with ``num_slots`` empty slots."""
        self.weight = nn.Parameter(self.weight.new_zeros(num_slots, self.layout.num_params))

    @torch.no_grad()
    def load(self, slot: int, row: Tensor) -> None:
        """Put an adapter, shape ``(num_params,)``, into a slot.

        Args:
            slot: The slot to fill.
            row: The adapter, shape ``(num_params,)``.
        """
        self.weight[slot].copy_(row)

    @contextmanager
    def routed(self, route: Route) -> Iterator[Pairs]:
        """Apply a route's adapters within the block; each batch must have the route's rows.

        The route applies to the current thread only.

        Yields:
            The ``lora_A`` and ``lora_B`` that are added to each target module.
        """
        pairs = self._gather(route)
        _ACTIVE.of_bank[id(self)] = pairs, route.lengths
        try:
            yield pairs
        finally:
            del _ACTIVE.of_bank[id(self)]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Disable the adapters within a `routed` block, for the current thread only."""
        active = _ACTIVE.of_bank.pop(id(self), None)
        try:
            yield
        finally:
            if active is not None:
                _ACTIVE.of_bank[id(self)] = active

    @property
    def _compute_dtype(self) -> torch.dtype:
        """Return the dtype of the target modules' outputs."""
        device = self.weight.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self._base_parameter[0].dtype

    def _gather(self, route: Route) -> Pairs:
        """Concatenate each row's adapters along the rank dimension, which gives their weighted sum.

        All modules are gathered and cast to the compute dtype at once. This takes only a few
        operations per step, and as few for their gradient.

        Returns:
            ``lora_A``, shape ``(rows, k * rank, in_features)``, and ``lora_B``, shape
            ``(rows, out_features, k * rank)``, of each target module.
        """
        rows, k = route.slots.shape
        slots = route.slots.reshape(-1)
        source = self.weight if route.adapters is None else route.adapters
        adapters = source.index_select(0, slots).to(self._compute_dtype)
        sizes = [matrix.stop - matrix.start for matrix in self.layout.matrices]
        parts = [
            part.view(rows, k, *matrix.shape)
            for part, matrix in zip(adapters.split(sizes, dim=1), self.layout.matrices, strict=True)
        ]
        pairs = []
        for lora_A, lora_B in zip(parts[::2], parts[1::2], strict=True):
            if route.weights is not None:
                lora_B = lora_B * route.weights[:, :, None, None].to(lora_B)
            lora_B = lora_B.transpose(1, 2).flatten(2)
            pairs.append((lora_A.flatten(1, 2), lora_B))
        return pairs

    def _add_update(
        self, index: int, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        compiled, lengths = self.compiled_pairs, None
        if compiled:
            lora_A, lora_B = compiled[index]
        else:
            pairs, lengths = _ACTIVE.of_bank.get(id(self), ([], None))
            if not pairs:
                return None
            lora_A, lora_B = pairs[index]
        if type(module).__name__ == "Linear8bitLt":
            # The layer's output is a view, which autograd does not allow to be modified in place.
            output = output.clone()
        if lengths is not None:
            return add_to_segments(output, inputs[0], lora_A, lora_B, lengths, self.config.scaling)
        return add_to_rows(output, inputs[0], lora_A, lora_B, self.config.scaling)


def feature_sizes(module: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return the number of input and output features of a layer."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return module.in_features, module.out_features


def find_target_modules(
    base: PreTrainedModel, target_modules: tuple[str, ...]
) -> list[tuple[str, nn.Linear | Conv1D]]:
    """Return the linear layers whose name ends with one of ``target_modules``, with their names.

    Args:
        base: The language model.
        target_modules: Trailing parts of the names, such as ``c_fc`` or ``mlp.c_proj``.

    Raises:
        ValueError: If a target name matches no linear layer; the message lists the candidates. Also
            if one is the head, whose weight the loss reads directly, bypassing the layer.
    """
    # Quantized layers (bitsandbytes) are subclasses of nn.Linear.
    linear = [(name, m) for name, m in base.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    ends = {target: f".{target}" for target in target_modules}
    found = [(name, m) for name, m in linear if f".{name}".endswith(tuple(ends.values()))]
    missing = [
        target for target, end in ends.items() if not any(f".{n}".endswith(end) for n, _ in linear)
    ]
    if missing:
        names = {name.rpartition(".")[2] for name, _ in linear}
        raise ValueError(
            f"target module '{min(missing)}' is no linear layer of {type(base).__name__}; "
            f"it has {', '.join(sorted(names))}"
        )
    for name, module in found:
        if module is base.get_output_embeddings():
            raise ValueError(
                f"target module '{name}' is the head of {type(base).__name__}, whose weight the "
                "loss reads directly, so that an adapter of it would not be trained; leave it out"
            )
    return found
