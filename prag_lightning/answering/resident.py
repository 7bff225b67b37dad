"""Adapters of a store that stay in memory, those that were used last."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import AdapterStore


class ResidentAdapters:
    """The adapters of a store, of which those used last are kept on the model's device.

    Reading three adapters from the store took 2.2 ms for the embedded base (rank 8), 16 ms for one
    of 1B parameters (rank 2) and 106 ms for one of 8B, which is mostly their checksums; from here
    0.3, 3 and 37 ms (CPU time).

    Args:
        store: The store.
        like: A tensor on the device that adapters are kept on, in their dtype.
        max_bytes: Memory for them; the store is asked for all others.
    """

    def __init__(self, store: AdapterStore, like: Tensor, max_bytes: int) -> None:
        self._store = store
        self._like = like
        self._most = max_bytes // (store.layout.num_params * like.element_size())
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_resident(self) -> int:
        """How many adapters are kept."""
        return len(self._rows)

    def __contains__(self, document_id: str) -> bool:
        """Return whether a document has an adapter."""
        return document_id in self._store

    def text_digest(self, document_id: str) -> str | None:
        """Return a digest of what a document's adapter was trained on; None if there is none."""
        return self._store.text_digest(document_id)

    def mean(self) -> Tensor:
        """Return the mean of all adapters, shape ``(num_params,)``."""
        return self._store.mean()

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        """Return the adapters of documents, shape ``(n, num_params)``.

        Raises:
            ValueError: If one is not stored or is damaged; the message names it.
        """
        if not document_ids:
            return self._store.get_many([]).to(self._like)
        with self._lock:
            found = {name: self._rows[name] for name in document_ids if name in self._rows}
        others = [name for name in dict.fromkeys(document_ids) if name not in found]
        found |= zip(others, self._store.get_many(others).to(self._like), strict=True)
        with self._lock:
            for name in document_ids:
                # A row of its own, not a view that keeps all of the others.
                self._rows.setdefault(name, found[name].clone())
                self._rows.move_to_end(name)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
        return torch.stack([found[name] for name in document_ids])
