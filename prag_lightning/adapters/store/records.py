"""What a store says of its documents, of its size, and of what is wrong with it."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from prag_lightning.adapters.store.manifest import Manifest


@dataclass(frozen=True)
class Damage:
    """One thing in a store that is not as it was written.

    Args:
        document_id: The document that it concerns, if that is known.
        file: Where it is.
        what: What is wrong.
        harmless: Whether every adapter is there nevertheless; a repair tidies up.
    """

    document_id: str | None
    file: str
    what: str
    harmless: bool = False


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


class StoredDocument(NamedTuple):
    """A document that has an adapter.

    Args:
        id: The document.
        text_digest: Digest of what the adapter was trained on.
        stored: When, in seconds since 1970; 0 where that is not known.
        place: Where the layout keeps it, which is the layout's own business.
    """

    id: str
    text_digest: str
    stored: int = 0
    place: object = None


class CopiedFile(NamedTuple):
    """A file of a copy of a store.

    Args:
        name: Its name, in the store as in the copy.
        head: The bytes that it begins with there, where what the store's file will begin with
            later would not fit the files that were copied before.
        is_whole: Whether these are all of it, so that the store's file need not be read.
    """

    name: str
    head: bytes = b""
    is_whole: bool = False


class WriteLock(Protocol):
    """The right to write into a store."""

    def check(self) -> None:
        """Raise ``OSError`` if the store is no longer there."""

    def release(self) -> None:
        """Give it back."""
