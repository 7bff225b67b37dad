"""Documents of a corpus, each once."""

from collections.abc import Iterable, Iterator

from prag_lightning.documents.records import Document


class UniqueDocuments:
    """Yields documents without exact repetitions, once, and counts them.

    Hashes are kept, not documents: about 120 bytes each, for corpora of millions.

    Args:
        documents: The documents; of a generator, one at a time is in memory.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = documents
        self.num_documents = 0

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents.

        Raises:
            ValueError: If one id stands for two documents, or there are none.
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
