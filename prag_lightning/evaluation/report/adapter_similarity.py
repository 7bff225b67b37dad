"""How similar the adapters of documents are: a merge adds up what they share."""

import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.adapters.store.recipe import Recipe

_MOST_DOCUMENTS = 20
# Limit on the rows in memory at once, in bytes.
_MOST_MEMORY = 2**29


def update_products(rows: Tensor, recipe: Recipe) -> Tensor:
    """Return the inner products of the weight updates of adapters, from their low-rank factors.

    Args:
        rows: Adapters, shape ``(documents, num_params)``.
        recipe: Recipe of the adapters, which defines their layout.

    Returns:
        Shape ``(documents, documents)``, in double precision.
    """
    matrices = recipe.layout.matrices
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for first, second in zip(matrices[::2], matrices[1::2], strict=True):
        lora_A = rows[:, first.start : first.stop].view(-1, *first.shape).double()
        lora_B = rows[:, second.start : second.stop].view(-1, *second.shape).double()
        # <B A, B' A'> is the sum over (B^T B') * (A A'^T), matrices of shape (rank, rank).
        of_A = torch.einsum("iaf,jbf->ijab", lora_A, lora_A)
        of_B = torch.einsum("ioa,job->ijab", lora_B, lora_B)
        products += recipe.lora.scaling**2 * (of_A * of_B).sum((2, 3))
    return products


def adapter_similarity(store: AdapterStore) -> Tensor | None:
    """Return the cosines between the weight updates of the adapters in a store.

    At most 20 adapters are compared, and fewer if they are large.

    Returns:
        Shape ``(documents, documents)``; None if the store holds fewer than two.

    Raises:
        ValueError: If an adapter is damaged.
    """
    ids = sorted(store.ids())
    most = min(_MOST_DOCUMENTS, max(2, _MOST_MEMORY // (4 * store.recipe.layout.num_params)))
    chosen = ids[:: -(-len(ids) // most)] if ids else []
    if len(chosen) < 2:
        return None
    products = update_products(store.get_many(chosen), store.recipe)
    norms = products.diagonal().clamp(min=0).sqrt()
    # The cosine with an adapter that is zero is 0.
    return products / (norms[:, None] * norms).clamp(min=torch.finfo(torch.float64).tiny)
