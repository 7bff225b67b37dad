"""Comparing what workers say that they have stored with what the store holds."""

from collections.abc import Sequence
from typing import NamedTuple

from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.adapters.store.records import Receipt


class Comparison(NamedTuple):
    """What a store holds of what workers have stored.

    Args:
        lost: Receipts of documents that the store does not hold as they were trained.
        num_twice: Number of documents of which it holds the adapter of another worker.
    """

    lost: list[Receipt]
    num_twice: int


def compare_receipts(receipts: Sequence[Receipt], store: AdapterStore) -> Comparison:
    """Look up every receipt in a store.

    Args:
        receipts: What the workers have returned.
        store: The store, opened after they were done.
    """
    held = {held.document_id: held for held in store.receipts([r.document_id for r in receipts])}
    lost, num_twice = [], 0
    for receipt in receipts:
        found = held.get(receipt.document_id)
        if found is None or found.text_digest != receipt.text_digest:
            lost.append(receipt)
        elif found != receipt:
            num_twice += 1
    return Comparison(lost, num_twice)
