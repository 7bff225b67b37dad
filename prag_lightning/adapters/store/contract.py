"""What a layout of stores does: all that differs from one to another."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.store.manifest import MANIFEST, Manifest
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype
from prag_lightning.adapters.store.records import (
    CopiedFile,
    Damage,
    StoredDocument,
    WriteLock,
)
from prag_lightning.adapters.store.rows import RowCodec


class LayoutContract(ABC):
    """Which documents there are, and adding, deleting and reading their adapters.

    Args:
        files: The files of the store.
        manifest: Its manifest.
        lock: The right to write, in ``write`` mode.
        rank: This process's number among those that write.

    Attributes:
        name: What the layout is called in manifests and settings.
        dtypes: The forms of numbers that it stores.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[StoreDtype, ...]] = ("float32", "bfloat16", "float16", "int8")

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, rank: int = 0
    ) -> None:
        self.files = files
        self.manifest = manifest
        self.rank = rank
        self.layout: AdapterLayout = manifest.recipe.layout
        self._lock = lock
        self._closed = False

    @property
    def recipe(self) -> Recipe:
        """What made the adapters."""
        return self.manifest.recipe

    @property
    def folder(self) -> Path:
        """The folder on this machine, which a store that is written to always has."""
        assert self.files.local is not None
        return self.files.local

    def find(self, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Return those of the documents that are stored.

        Raises:
            ValueError: If one is not found, but something that may be it is damaged.
        """
        wanted = set(document_ids)
        return {document.id: document for document in self.documents() if document.id in wanted}

    @abstractmethod
    def documents(self) -> Iterator[StoredDocument]:
        """Yield all documents, each once."""

    @abstractmethod
    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        """Store adapters, shape ``(n, num_params)``, in the place of those that are there."""

    @abstractmethod
    def _delete(self, documents: Sequence[StoredDocument]) -> None:
        """Delete adapters."""

    @abstractmethod
    def _read(self, documents: Sequence[StoredDocument]) -> Tensor:
        """Return the adapters of documents that are stored, shape ``(n, num_params)``, float32.

        Raises:
            ValueError: If one is damaged; names it.
        """

    def _finish(self) -> None:  # noqa: B027 - there may be nothing to do
        """Bring the files into their final state, and close them."""

    def _abandon(self) -> None:  # noqa: B027
        """Close the files as they are."""

    @classmethod
    def check(cls, files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield what is wrong besides the manifest; here, what reading every adapter shows.

        Args:
            files: The store.
            manifest: Its manifest.
        """
        store = cls(files, manifest)
        for document in store.documents():
            try:
                store._read([document])
            except (ValueError, FileNotFoundError) as error:
                yield Damage(document.id, files.url, str(error))

    @classmethod
    def repair(cls, files: StoreFiles, manifest: Manifest, lock: WriteLock) -> None:
        """Take out what `check` finds, so that the next run encodes it again.

        Args:
            files: The store, which is on this machine.
            manifest: Its manifest.
            lock: The right to write.
        """
        bad = {damage.document_id for damage in cls.check(files, manifest)}
        store = cls(files, manifest, lock)
        store._delete([document for document in store.documents() if document.id in bad])
        store._finish()

    @classmethod
    def forecast(cls, recipe: Recipe, dtype: StoreDtype, num_documents: int) -> int:
        """Return the bytes that so many adapters will take on a disk, to a few per cent.

        Args:
            recipe: What makes them.
            dtype: In which form their numbers are stored.
            num_documents: How many.
        """
        return num_documents * RowCodec(recipe.layout, dtype).num_bytes

    def copy_plan(self) -> Iterator[CopiedFile]:
        """Yield the files, but for the manifest, in an order that makes a whole copy of them."""
        for name in self.files.all_names():
            if name != MANIFEST and not name.endswith(".lock"):
                yield CopiedFile(name)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.files.url}: this store is closed; open it again")
