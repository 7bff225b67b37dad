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
        slots: Shape ``(rows, k)``, integers.
        weights: Shape ``(rows, k)``; None stands for 1 everywhere.
        adapters: What ``slots`` counts in, shape ``(n, num_params)``; None for the bank's own.
        lengths: Where the rows stand one behind the other in a single packed row, their lengths
            in tokens. None where each row is a row.
    """

    slots: Tensor
    weights: Tensor | None = None
    adapters: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def of_rows(self, rows: list[int]) -> "Route":
        """Return the route of some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, slots=self.slots[rows], weights=weights)


class _ActiveRoutes(threading.local):
    """What each bank adds to its base in this thread: threads that share a model never mix."""

    def __init__(self) -> None:
        self.of_bank: dict[int, tuple[Pairs, tuple[int, ...] | None]] = {}


_ACTIVE = _ActiveRoutes()


class AdapterBank(DeviceOnlyModule, nn.Module):
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
            order of ``layout``.
        compiled_pairs: For each target module the ``lora_A`` and ``lora_B`` that compiled code adds
            to its rows; empty where ``routed`` says what is added.

    Raises:
        ValueError: If the base has no linear layer of one of the target names, or one is its head.
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
        # In a tuple, for it is no parameter of ours.
        self._base_parameter = (next(p for p in base.parameters() if p.is_floating_point()),)
        device = self._base_parameter[0].device
        self.weight = nn.Parameter(
            torch.zeros(num_slots, self.layout.num_params, dtype=dtype, device=device)
        )
        self.compiled_pairs: Pairs = []
        for index, (_, module) in enumerate(targets):
            module.register_forward_hook(partial(self._add_update, index))

    @property
    def num_slots(self) -> int:
        """How many adapters are resident."""
        return len(self.weight)

    @property
    def grad(self) -> Tensor:
        """Gradient of ``weight``, after a backward pass."""
        assert self.weight.grad is not None
        return self.weight.grad

    @torch.inference_mode(False)
    def resize(self, num_slots: int) -> None:
        """Make room for ``num_slots`` adapters; all slots are empty afterwards."""
        self.weight = nn.Parameter(self.weight.new_zeros(num_slots, self.layout.num_params))

    @torch.no_grad()
    def load(self, slot: int, row: Tensor) -> None:
        """Put an adapter, shape ``(num_params,)``, into a slot.

        Args:
            slot: Where it goes.
            row: The adapter, shape ``(num_params,)``.
        """
        self.weight[slot].copy_(row)

    @contextmanager
    def routed(self, route: Route) -> Iterator[Pairs]:
        """Run the base model with adapters: within, a batch must have the route's rows.

        The route counts in this thread alone.

        Yields:
            For each target module the ``lora_A`` and ``lora_B`` that are added.
        """
        pairs = self._gather(route)
        _ACTIVE.of_bank[id(self)] = pairs, route.lengths
        try:
            yield pairs
        finally:
            del _ACTIVE.of_bank[id(self)]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Run the base model without adapters, within `routed`, in this thread."""
        active = _ACTIVE.of_bank.pop(id(self), None)
        try:
            yield
        finally:
            if active is not None:
                _ACTIVE.of_bank[id(self)] = active

    @property
    def _compute_dtype(self) -> torch.dtype:
        """What the target modules give."""
        device = self.weight.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self._base_parameter[0].dtype

    def _gather(self, route: Route) -> Pairs:
        """Return each row's adapters side by side, which is their weighted sum.

        All modules are gathered, and cast to what the base computes in, at once; that is a
        handful of operations a step, and their gradient is gathered likewise.

        Returns:
            For each target module ``lora_A``, shape ``(rows, k * rank, in_features)``, and
            ``lora_B``, shape ``(rows, out_features, k * rank)``.
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
        pairs, lengths = self.compiled_pairs, None
        if not pairs:
            pairs, lengths = _ACTIVE.of_bank.get(id(self), ([], None))
        if not pairs:
            return None
        lora_A, lora_B = pairs[index]
        if type(module).__name__ == "Linear8bitLt":
            # Its output is a view, which autograd forbids to change in place.
            output = output.clone()
        if lengths is not None:
            return add_to_segments(output, inputs[0], lora_A, lora_B, lengths, self.config.scaling)
        return add_to_rows(output, inputs[0], lora_A, lora_B, self.config.scaling)


def feature_sizes(module: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return how many features a layer takes, and how many it gives."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return module.in_features, module.out_features


def find_target_modules(
    base: PreTrainedModel, target_modules: tuple[str, ...]
) -> list[tuple[str, nn.Linear | Conv1D]]:
    """Return the linear layers whose name ends in one of ``target_modules``, with their names.

    Args:
        base: The language model.
        target_modules: Last parts of names, as many as it takes: ``c_fc``, or ``mlp.c_proj``.

    Raises:
        ValueError: If a target name fits no linear layer; names those that there are. If one is the
            head, whose weight the loss reads without asking the layer.
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
