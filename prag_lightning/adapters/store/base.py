"""The interface of a store of finished adapters, whatever its file layout."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from prag_lightning.adapters.store.contract import LayoutContract
from prag_lightning.adapters.store.mean import mean_adapter
from prag_lightning.adapters.store.records import (
    Receipt,
    StoredDocument,
    StoreStats,
    WriteLock,
)
from prag_lightning.documents.closing import ClosedAtEnd
from prag_lightning.documents.naming import first_few

__all__ = ["AdapterStore", "StoredDocument"]


class AdapterStore(LayoutContract, ClosedAtEnd):
    """Finished adapters by document id; opened with `open_store`.

    A store shows the documents that it held when it was opened, and those added through it since;
    `refresh` also shows what others have added. To write a layout, subclass it with a ``name``; see
    docs/extending/store_layout.md.
    """

    layouts: ClassVar[dict[str, type["AdapterStore"]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the layout under its name."""
        if "name" in vars(cls):
            AdapterStore.layouts[cls.name] = cls

    def put_many(
        self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]
    ) -> None:
        """Store adapters; they are on disk when this returns.

        An object store gets them together with others: once they take 64 MiB, with the first that
        come half a minute after the last upload, or by `flush`, which `claim` and `close` call.

        A document that is already stored with the same text is skipped. With another text, its
        adapter is replaced, and one of the two is in the store at any time. If several writers
        store a document at the same moment, the first adapter counts.

        Args:
            document_ids: The documents.
            rows: Their adapters, shape ``(n, num_params)``, float32.
            text_digests: Digest of what each was trained on.

        Raises:
            ValueError: If the store is open for reading, or a number is not finite.
            StoreFullError: If the disk is full; everything stored before is kept.
            StoreLostError: If the store was deleted in the meantime.
        """
        lock = self._require_lock()
        expected = (len(document_ids), self.layout.num_params)
        if rows.shape != expected or rows.dtype != torch.float32:
            raise ValueError(
                f"adapters have shape {tuple(rows.shape)} in {rows.dtype}, expected {expected} in "
                "torch.float32"
            )
        new = self._select_new(document_ids, text_digests)
        if new:
            chosen = rows if len(new) == len(rows) else rows[new]
            with _held(lock):
                self._add([document_ids[i] for i in new], chosen, [text_digests[i] for i in new])
        self.release(document_ids)

    def claim(self, document_ids: Sequence[str]) -> list[str]:
        """Claim documents to encode, so that no other writer begins them; then `refresh`.

        A claim ends when its document is stored, and when this store is closed or its process dies.

        Returns:
            The documents that no other living writer has claimed; some may be stored by now.

        Raises:
            ValueError: If the store is open for reading.
        """
        self.flush()
        granted = self._require_lock().claim(document_ids, kept=list(self._claimed))
        self._claimed |= dict.fromkeys(granted)
        self.refresh()
        return granted

    def release(self, document_ids: Iterable[str]) -> None:
        """Give up claims on documents; others may claim them after the next `claim`."""
        for document_id in document_ids:
            self._claimed.pop(document_id, None)

    def delete(self, document_ids: Sequence[str]) -> None:
        """Delete the adapters of documents; the deletion is durable when this returns.

        Raises:
            ValueError: If one is not stored, or the store is open for reading; nothing is deleted
                then.
            BlockingIOError: If others are writing to the store.
        """
        lock = self._require_lock()
        names = list(dict.fromkeys(document_ids))
        with self.alone():
            found = self.find(names)
            self._require_all(names, found)
            if names:
                with _held(lock):
                    self._delete([found[name] for name in names])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other writers away in the block.

        Raises:
            ValueError: If the store is open for reading.
            BlockingIOError: If others are writing to the store; the message names them.
        """
        with self._require_lock().alone():
            self.refresh()
            yield

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        """Return the adapters of documents, shape ``(n, num_params)``, float32.

        Raises:
            ValueError: If one is not stored or is damaged; the message names it.
        """
        if not document_ids:
            return torch.empty(0, self.layout.num_params)
        found = self.find(document_ids)
        self._require_all(document_ids, found)
        return self._read([found[document_id] for document_id in document_ids])

    def mean(self) -> Tensor:
        """Return the mean of all adapters, shape ``(num_params,)``, float32.

        It averages the LoRA factors, not their product, which is the update itself; see
        docs/merging.md. The result is cached in the store's folder until the adapters change.

        Raises:
            ValueError: If the store is empty, or an adapter is damaged.
        """
        return mean_adapter(self.files, self.documents(), self.get_many, self.layout.num_params)

    def text_digests(self, document_ids: Sequence[str]) -> dict[str, str]:
        """Return the text digests of those documents that are stored."""
        return {name: document.text_digest for name, document in self.find(document_ids).items()}

    def receipts(self, document_ids: Sequence[str]) -> list[Receipt]:
        """Return where the adapters of those documents are that are stored."""
        return [self._receipt(document) for document in self.find(document_ids).values()]

    def text_digest(self, document_id: str) -> str | None:
        """Return the digest of the text that an adapter was trained on; None if it is not stored.

        Raises:
            ValueError: If this cannot be determined because a file that may be it is damaged.
        """
        return self.text_digests([document_id]).get(document_id)

    def __contains__(self, document_id: object) -> bool:
        """Return whether a document is stored. Raises the same errors as `text_digest`."""
        return isinstance(document_id, str) and self.text_digest(document_id) is not None

    def ids(self) -> Iterator[str]:
        """Yield the ids of all documents."""
        return (document.id for document in self.documents())

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(1 for _ in self.documents())

    def stats(self) -> StoreStats:
        """Return the size of the store."""
        return StoreStats(len(self), self.files.total_size(), self.manifest)

    def close(self) -> None:
        """Finish the files, and release the lock for the next run.

        Raises:
            StoreLostError: If the store was deleted while it was open for writing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._lock:
                with _held(self._lock):
                    self._finish()
            else:
                self._abandon()
        except BaseException:
            self._abandon()
            raise
        finally:
            if self._lock:
                self._lock.release()
                self._lock = None

    def _require_lock(self) -> WriteLock:
        self._require_open()
        if self._lock is None:
            raise ValueError(f"{self.files.url}: is open for reading; open it with mode='write'")
        return self._lock

    def _require_all(self, document_ids: Sequence[str], stored: Collection[str]) -> None:
        missing = [i for i in dict.fromkeys(document_ids) if i not in stored]
        if missing:
            raise ValueError(
                f"{self.files.url}: holds no adapter of {first_few(list(map(repr, missing)))}; "
                "encode them with `prag fit`"
            )

    def _select_new(self, document_ids: Sequence[str], text_digests: Sequence[str]) -> list[int]:
        """Return the indices of the documents to store; of duplicates, the last one."""
        for document_id in document_ids:
            check_document_id(document_id)
        known = self.text_digests(document_ids)
        pairs = zip(document_ids, text_digests, strict=True)
        if any(known.get(document_id, digest) != digest for document_id, digest in pairs):
            # Another writer may have replaced an adapter, which must not come back.
            self.refresh()
            known = self.text_digests(document_ids)
        new: dict[str, int] = {}
        for i, (document_id, digest) in enumerate(zip(document_ids, text_digests, strict=True)):
            if known.get(document_id) != digest:
                known[document_id] = digest
                new[document_id] = i
        return list(new.values())


@contextmanager
def _held(lock: WriteLock) -> Iterator[None]:
    """Check before and after the block that the store is still the one that was locked."""
    lock.check()
    try:
        yield
    except FileNotFoundError:
        lock.check()
        raise
    lock.check()


def check_document_id(document_id: str) -> None:
    """Refuse an id that cannot be written to a file.

    Raises:
        ValueError: If it is empty or contains a lone surrogate.
    """
    if not document_id or any("\ud800" <= letter <= "\udfff" for letter in document_id):
        raise ValueError(
            f"document id {document_id[:80]!r} is empty or not Unicode text; give it another"
        )
