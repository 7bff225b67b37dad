"""Descriptions of a store's documents, size and damage."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from prag_lightning.adapters.store.manifest import Manifest


@dataclass(frozen=True)
class Damage:
    """A deviation of a store from what was written.

    Args:
        document_id: The affected document, if known.
        file: The affected file.
        what: Description of the damage.
        harmless: Whether every adapter is intact nevertheless; a repair only tidies up.
    """

    document_id: str | None
    file: str
    what: str
    harmless: bool = False


@dataclass(frozen=True)
class StoreStats:
    """Size of a store in documents and bytes of all its files, and its recipe."""

    num_documents: int
    num_bytes: int
    manifest: Manifest

    @property
    def bytes_per_document(self) -> float:
        """Average bytes per document, over all files; 0 for an empty store."""
        return self.num_bytes / self.num_documents if self.num_documents else 0.0


class StoredDocument(NamedTuple):
    """A document that has an adapter.

    Args:
        id: Id of the document.
        text_digest: Digest of the text that the adapter was trained on.
        stored: Time in seconds since 1970; 0 if unknown.
        place: Location of the adapter, in a form private to the layout.
        writer: Number of the writer that stored it; None if unknown.
    """

    id: str
    text_digest: str
    stored: int = 0
    place: object = None
    writer: int | None = None


class Receipt(NamedTuple):
    """Where the adapter of a document is, and what it must be.

    Args:
        document_id: The document.
        text_digest: Digest of what it was trained on.
        file: File of the adapter, within the store.
        row: Its row in that file.
        checksum: Checksum of the adapter.
    """

    document_id: str
    text_digest: str
    file: str = ""
    row: int = 0
    checksum: str = ""


class CopiedFile(NamedTuple):
    """A file of a store to be copied.

    Args:
        name: Its name, the same in the store and in the copy.
        head: First bytes of the copy, if the store's own first bytes may have changed by the time
            the rest is copied.
        is_whole: Whether ``head`` is the complete contents, so that the file need not be read.
    """

    name: str
    head: bytes = b""
    is_whole: bool = False


class WriteLock(Protocol):
    """The right to write to a store."""

    def check(self) -> None:
        """Raise ``OSError`` if the store no longer exists."""

    def alone(self) -> AbstractContextManager[None]:
        """Have the store alone in a block; raise ``BlockingIOError`` if others are writing."""

    def claim(self, document_ids: Sequence[str], kept: Collection[str]) -> list[str]:
        """Claim documents beside those ``kept``; return those that no one else has claimed."""

    def release(self) -> None:
        """Give up the right to write."""
