"""Removing duplicate documents from a corpus."""

from collections.abc import Iterable, Iterator

from prag_lightning.documents.records import Document


class UniqueDocuments:
    """Yields documents without exact duplicates, and counts them; can be iterated once.

    It stores a hash of each document, about 120 bytes, for corpora of millions.

    Args:
        documents: The documents; if they come from a generator, they are read one at a time.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = documents
        self.num_documents = 0

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents.

        Raises:
            ValueError: If two different documents share an id, or there are none.
        """
        seen: dict[int, int] = {}
        for number, document in enumerate(self._documents, start=1):
            id_hash, content_hash = hash(document.id), hash((document.title, document.text))
            if id_hash not in seen:
                seen[id_hash] = content_hash
                self.num_documents += 1
                yield document
            elif seen[id_hash] != content_hash:
                raise ValueError(
                    f"document number {number} has the id '{document.id}' of another document "
                    "before it; give each its own id"
                )
        if not seen:
            raise ValueError("there are no documents to index")
