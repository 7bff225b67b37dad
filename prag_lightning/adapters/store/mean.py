"""The mean of a store's adapters, computed once and cached in the store."""

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.records import StoredDocument
from prag_lightning.documents.still_running import still_running
from prag_lightning.documents.writing import write_whole

MEAN_FILE = "mean.safetensors"
MOST_DOCUMENTS = 1000
# Size of the adapters held in memory at once.
_MOST_BYTES = 2**26


def mean_adapter(
    files: StoreFiles,
    documents: Iterable[StoredDocument],
    read: Callable[[Sequence[str]], Tensor],
    num_params: int,
) -> Tensor:
    """Return the mean of a store's adapters, shape ``(num_params,)``, float32.

    It is cached in the store's folder, and valid as long as the store holds the same adapters. For
    more than 1,000 documents it is the mean of 1,000 of them, chosen by a hash of their ids, so
    that a few added documents rarely change it.

    Args:
        files: The store.
        documents: All documents in the store.
        read: Returns the adapters of given documents, shape ``(n, num_params)``.
        num_params: Number of parameters in one adapter.

    Raises:
        ValueError: If the store is empty, or an adapter is damaged.
    """
    chosen = heapq.nsmallest(MOST_DOCUMENTS, documents, key=_hash)
    if not chosen:
        raise ValueError(
            f"{files.url}: holds no adapter, so that there is no mean; encode documents with "
            "`prag fit`"
        )
    listed = json.dumps(sorted((d.id, d.text_digest, d.stored) for d in chosen))
    contents = hashlib.sha256(listed.encode()).digest()
    kept = _read_kept(files, contents, num_params)
    if kept is not None:
        return kept
    with still_running(lambda: f"{files.url}: taking the mean of {len(chosen)} adapters"):
        mean = _compute([document.id for document in chosen], read, num_params)
    if files.local is not None:
        tensors = {"mean": mean, "checksum": _checksum(contents, mean)}
        # In a read-only store it is computed anew each time.
        with suppress(OSError):
            write_whole(files.local / MEAN_FILE, safetensors.torch.save(tensors))
    return mean


def _hash(document: StoredDocument) -> bytes:
    return hashlib.sha256(document.id.encode()).digest()


def _compute(
    document_ids: Sequence[str], read: Callable[[Sequence[str]], Tensor], num_params: int
) -> Tensor:
    total = torch.zeros(num_params, dtype=torch.float64)
    # Sorted, so that documents of the same shard are neighbours.
    ids = iter(sorted(document_ids))
    while part := list(islice(ids, max(1, _MOST_BYTES // (4 * num_params)))):
        total += read(part).sum(dim=0, dtype=torch.float64)
    return (total / len(document_ids)).float()


def _checksum(contents: bytes, mean: Tensor) -> Tensor:
    digest = hashlib.sha256(contents + mean.numpy().tobytes()).digest()
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)


def _read_kept(files: StoreFiles, contents: bytes, num_params: int) -> Tensor | None:
    """Return the cached mean; None if it is missing, damaged or of other contents."""
    if not files.exists(MEAN_FILE):
        return None
    try:
        tensors = safetensors.torch.load(files.read(MEAN_FILE))
        mean, checksum = tensors["mean"], tensors["checksum"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
    fits = mean.shape == (num_params,) and mean.dtype == torch.float32
    return mean if fits and torch.equal(checksum, _checksum(contents, mean)) else None
