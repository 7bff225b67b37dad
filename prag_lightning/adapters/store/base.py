"""What every store of finished adapters offers, whatever its files look like."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import torch
from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.store.recipe import Manifest, Recipe, read_manifest

MANIFEST = "manifest.json"
# Bytes; that of a model of 1,000 adapted layers has 100,000.
_MANIFEST_LIMIT = 2**24


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong in a store: which document's, if known, in which file, and what."""

    document_id: str | None
    file: str
    what: str


@dataclass(frozen=True)
class StoreStats:
    """How much a store holds, and what made it. Bytes are those of all its files."""

    num_documents: int
    num_bytes: int
    manifest: Manifest

    @property
    def bytes_per_document(self) -> float:
        """Bytes of all files by documents; 0 for an empty store."""
        return self.num_bytes / self.num_documents if self.num_documents else 0.0


class WriteLock(Protocol):
    """The right to write into a store."""

    def release(self) -> None:
        """Give it back."""


class AdapterStore(ABC):
    """Finished adapters by document id; made by `open_store`.

    A store shows what it held when it was opened, and what it was given since.

    Args:
        files: Its files.
        manifest: Its manifest.
        lock: The right to write, in ``write`` mode.
    """

    def __init__(self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None) -> None:
        self.files = files
        self.manifest = manifest
        self.layout: AdapterLayout = manifest.recipe.layout
        self._lock = lock

    @property
    def recipe(self) -> Recipe:
        """What made the adapters."""
        return self.manifest.recipe

    def put(self, document_id: str, row: Tensor, text_digest: str) -> None:
        """Store one adapter, shape ``(num_params,)``; it is on the disk when this returns.

        Raises:
            ValueError: If the document is stored with another text, or a number is not finite.
            StoreFullError: If there is no room; everything stored before is kept.
        """
        self.put_many([document_id], row[None], [text_digest])

    def put_many(
        self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]
    ) -> None:
        """Store adapters, shape ``(n, num_params)``, with one flush to the disk for all.

        What is stored already with the same text is passed over. Raises as `put` does.
        """
        if self._lock is None:
            raise ValueError(f"{self.files.url}: is open for reading; open it with mode='write'")
        expected = (len(document_ids), self.layout.num_params)
        if rows.shape != expected or rows.dtype != torch.float32:
            raise ValueError(
                f"adapters have shape {tuple(rows.shape)} in {rows.dtype}, expected {expected} in "
                "torch.float32"
            )
        new = self._select_new(document_ids, text_digests)
        if new:
            chosen = rows if len(new) == len(rows) else rows[new]
            self._add([document_ids[i] for i in new], chosen, [text_digests[i] for i in new])

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        """Return the adapters of documents, shape ``(n, num_params)``, float32.

        Raises:
            ValueError: If one is not stored, or is damaged; names it.
        """
        if not document_ids:
            return torch.empty(0, self.layout.num_params)
        return self._read(document_ids)

    def text_digest(self, document_id: str) -> str | None:
        """Return the digest of the text that an adapter was made of; None if it is not stored."""
        return self._text_digests([document_id]).get(document_id)

    def __contains__(self, document_id: object) -> bool:
        """Say whether a document is stored."""
        return isinstance(document_id, str) and self.text_digest(document_id) is not None

    @abstractmethod
    def ids(self) -> Iterator[str]:
        """Yield the ids of all documents."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of documents."""

    def verify(self) -> list[Damage]:
        """Return what is wrong: every adapter is read, every byte of every file accounted for."""
        return list(self.check(self.files))

    @classmethod
    def check(cls, files: StoreFiles) -> Iterator[Damage]:
        """Yield what is wrong in a store of this layout, which need not be fit to be opened."""
        try:
            files.refuse_pickles()
            manifest = load_manifest(files)
        except (ValueError, FileNotFoundError) as error:
            yield Damage(None, MANIFEST, str(error))
        else:
            yield from cls._check(files, manifest)

    @staticmethod
    @abstractmethod
    def repair(files: StoreFiles, folder: Path, manifest: Manifest) -> None:
        """Take out what `check` finds, so that the next run encodes it again."""

    def stats(self) -> StoreStats:
        """Return how much the store holds."""
        return StoreStats(len(self), self.files.total_size(), self.manifest)

    def close(self) -> None:
        """Finish the files, and let the next run in."""
        try:
            self._finish()
        finally:
            if self._lock:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> "AdapterStore":
        """Return the store, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    @abstractmethod
    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        """Store adapters of documents that are not stored."""

    @abstractmethod
    def _read(self, document_ids: Sequence[str]) -> Tensor:
        """Return the adapters of one or more documents, as `get_many` does."""

    @abstractmethod
    def _text_digests(self, document_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the text digests of those documents that are stored."""

    @staticmethod
    @abstractmethod
    def _check(files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield what is wrong besides the manifest."""

    @abstractmethod
    def _finish(self) -> None:
        """Bring the files into their final state, and close them."""

    def _missing(self, document_ids: Sequence[str], stored: Collection[str]) -> ValueError:
        missing = [i for i in dict.fromkeys(document_ids) if i not in stored]
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return ValueError(
            f"{self.files.url}: holds no adapter of {', '.join(map(repr, missing[:5]))}{more}; "
            "encode them with `prag fit`"
        )

    def _select_new(self, document_ids: Sequence[str], text_digests: Sequence[str]) -> list[int]:
        """Return which of these documents are not stored, each once.

        Raises:
            ValueError: If one of them is stored, or given twice, with another text.
        """
        for document_id in document_ids:
            check_document_id(document_id)
        known = dict(self._text_digests(document_ids))
        new: list[int] = []
        for i, (document_id, digest) in enumerate(zip(document_ids, text_digests, strict=True)):
            if document_id not in known:
                known[document_id] = digest
                new.append(i)
            elif known[document_id] != digest:
                raise ValueError(
                    f"{self.files.url}: document {document_id!r} is stored with another text "
                    f"(digest {known[document_id]}, now {digest}); give the new text its own id, "
                    "or use another store folder"
                )
        return new


def load_manifest(files: StoreFiles) -> Manifest:
    """Return the manifest of a store.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    if not files.exists(MANIFEST):
        raise FileNotFoundError(
            f"{files.path(MANIFEST)}: no such file, so there is no store here; `prag fit` makes one"
        )
    return read_manifest(files.read(MANIFEST, stop=_MANIFEST_LIMIT), files.path(MANIFEST))


def check_document_id(document_id: str) -> None:
    """Refuse an id that no file can hold.

    Raises:
        ValueError: If it is empty, or half of a character (a lone surrogate).
    """
    if not document_id or any("\ud800" <= letter <= "\udfff" for letter in document_id):
        raise ValueError(
            f"document id {document_id[:80]!r} is empty or not Unicode text; give it another"
        )
