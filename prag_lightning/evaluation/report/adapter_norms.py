"""How much adapters change each layer of the base model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.adapters.store.recipe import Recipe

# Of more documents, this many are sampled evenly from the store.
_MOST_DOCUMENTS = 200


@dataclass(frozen=True)
class AdapterNorms:
    """Frobenius norms of what adapters add to weights, by kind of module and layer.

    Args:
        norms: For each kind of module the norms by layer, shape ``(num_documents,)`` each.
        num_documents: Number of adapters that were measured.
    """

    norms: Mapping[str, Mapping[int, Tensor]]
    num_documents: int


def update_norms(row: Tensor, recipe: Recipe) -> list[float]:
    """Return the Frobenius norm of ``alpha / rank * lora_B @ lora_A`` of each module, in order.

    Computed from the two small Gram matrices, without forming the product.

    Args:
        row: An adapter, shape ``(num_params,)``.
        recipe: Recipe of the adapter, which defines its layout.
    """
    matrices = recipe.layout.matrices
    norms = []
    for first, second in zip(matrices[::2], matrices[1::2], strict=True):
        lora_A = row[first.start : first.stop].view(first.shape).double()
        lora_B = row[second.start : second.stop].view(second.shape).double()
        square = ((lora_A @ lora_A.T) * (lora_B.T @ lora_B)).sum()
        norms.append(recipe.lora.scaling * square.clamp(min=0).sqrt().item())
    return norms


def adapter_norms(store: AdapterStore) -> AdapterNorms | None:
    """Return the norms of the adapters in a store, at most 200; None if it is empty.

    Raises:
        ValueError: If an adapter is damaged.
    """
    ids = sorted(store.ids())
    if not ids:
        return None
    chosen = ids[:: -(-len(ids) // _MOST_DOCUMENTS)]
    # Read one at a time: together they may be as large as a language model.
    norms = torch.tensor([update_norms(store.get_many([i])[0], store.recipe) for i in chosen])
    return AdapterNorms(_by_module(store.recipe, norms), len(chosen))


def _by_module(recipe: Recipe, norms: Tensor) -> dict[str, dict[int, Tensor]]:
    found: dict[str, dict[int, Tensor]] = {}
    for number, (name, _, _) in enumerate(recipe.modules):
        layer = re.search(r"\.(\d+)\.", name)
        by_layer = found.setdefault(name.rpartition(".")[2], {})
        by_layer[int(layer[1]) if layer else 0] = norms[:, number]
    return found


def quantiles(values: Sequence[Tensor], share: float) -> list[float]:
    """Return a quantile of each tensor.

    Args:
        values: Tensors of one dimension.
        share: Share of values below the quantile, from 0 to 1.
    """
    return [torch.quantile(value, share).item() for value in values]
