"""The operations in which store layouts differ."""

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
    Receipt,
    StoredDocument,
    WriteLock,
)
from prag_lightning.adapters.store.rows import RowCodec


class LayoutContract(ABC):
    """How a layout lists, adds, deletes and reads the adapters of documents.

    Args:
        files: The files of the store.
        manifest: Its manifest.
        lock: The write lock, in ``write`` mode.
        writer: Number of this writer; others may write at the same time.

    Attributes:
        name: Name of the layout in manifests and settings.
        dtypes: The dtypes in which it can store adapters.
        writes_objects: Whether it can be written to an object store, where files are not changed.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[StoreDtype, ...]] = ("float32", "bfloat16", "float16", "int8")
    writes_objects: ClassVar[bool] = False

    def __init__(
        self, files: StoreFiles, manifest: Manifest, lock: WriteLock | None = None, writer: int = 0
    ) -> None:
        self.files = files
        self.manifest = manifest
        self.writer = writer
        self.layout: AdapterLayout = manifest.recipe.layout
        self._lock = lock
        self._closed = False
        # Documents that this writer has claimed and not stored yet, in order.
        self._claimed: dict[str, None] = {}

    @property
    def recipe(self) -> Recipe:
        """The recipe of the adapters."""
        return self.manifest.recipe

    @property
    def folder(self) -> Path:
        """The store's folder on the local disk."""
        assert self.files.local is not None
        return self.files.local

    def find(self, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Return those documents that are stored.

        Raises:
            ValueError: If one is not found, but a file that may be it is damaged.
        """
        wanted = set(document_ids)
        return {document.id: document for document in self.documents() if document.id in wanted}

    @abstractmethod
    def documents(self) -> Iterator[StoredDocument]:
        """Yield each document once."""

    @abstractmethod
    def _add(self, document_ids: Sequence[str], rows: Tensor, text_digests: Sequence[str]) -> None:
        """Store adapters, shape ``(n, num_params)``, replacing existing ones."""

    @abstractmethod
    def _delete(self, documents: Sequence[StoredDocument]) -> None:
        """Delete adapters."""

    @abstractmethod
    def _read(self, documents: Sequence[StoredDocument]) -> Tensor:
        """Return the adapters of stored documents, shape ``(n, num_params)``, float32.

        Raises:
            ValueError: If one is damaged; the message names it.
        """

    def _receipt(self, document: StoredDocument) -> Receipt:
        """Return where the adapter of a stored document is."""
        return Receipt(document.id, document.text_digest)

    def refresh(self) -> None:  # noqa: B027
        """Look at what other writers have stored since the store was opened."""

    def flush(self) -> None:  # noqa: B027
        """Make sure that others see all adapters that were put so far."""

    def _finish(self) -> None:  # noqa: B027 - there may be nothing to do
        """Bring the files into their final state and close them."""

    def _abandon(self) -> None:  # noqa: B027
        """Close the files without finishing them."""

    @classmethod
    def check(cls, files: StoreFiles, manifest: Manifest) -> Iterator[Damage]:
        """Yield all damage outside the manifest; by default, adapters that cannot be read.

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
        """Remove what `check` reports, so that the next run encodes it again.

        Args:
            files: The store, on the local disk.
            manifest: Its manifest.
            lock: The write lock.
        """
        bad = {damage.document_id for damage in cls.check(files, manifest)}
        store = cls(files, manifest, lock)
        store._delete([document for document in store.documents() if document.id in bad])
        store._finish()

    @classmethod
    def forecast(cls, recipe: Recipe, dtype: StoreDtype, num_documents: int) -> int:
        """Return the disk space in bytes that the adapters will take, to within a few per cent.

        Args:
            recipe: Recipe of the adapters.
            dtype: Dtype in which they are stored.
            num_documents: Number of adapters.
        """
        return num_documents * RowCodec(recipe.layout, dtype).num_bytes

    def copy_plan(self) -> Iterator[CopiedFile]:
        """Yield all files except the manifest, in an order that gives a consistent copy."""
        for name in self.files.all_names():
            if name != MANIFEST and not name.endswith(".lock"):
                yield CopiedFile(name)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.files.url}: this store is closed; open it again")
