"""Documents with their adapters and their retriever, open as long as a request needs them."""

import threading
from collections.abc import Mapping, Sequence

from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.answering.merging import AdapterMerger
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.base import Retriever, retrieve_by_question


class OpenDocuments:
    """A store, its merger, a retriever and the documents, which belong together.

    Args:
        store: The store of adapters.
        merger: Merges them.
        retriever: Finds documents for a question; asked by one thread at a time.
        documents: The documents, by id.
    """

    def __init__(
        self,
        store: AdapterStore,
        merger: AdapterMerger,
        retriever: Retriever,
        documents: Mapping[str, Document],
    ) -> None:
        self.store = store
        self.merger = merger
        self.documents = documents
        self._retriever = retriever
        self._retrieving = threading.Lock()
        self._changing = threading.Lock()
        self._num_users = 0
        self._is_retired = False

    def retrieve(
        self, questions: Sequence[Question], top_k: int
    ) -> dict[str, list[RetrievedDocument]]:
        """Return the documents found for each question, best first, by the question's id.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question.
        """
        with self._retrieving:
            return retrieve_by_question(self._retriever, questions, top_k)

    def use(self) -> None:
        """Keep the store open until a further `release`."""
        with self._changing:
            self._num_users += 1

    def release(self) -> None:
        """End a `use`."""
        with self._changing:
            self._num_users -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Close the store as soon as it is not in use."""
        with self._changing:
            self._is_retired = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_retired and self._num_users == 0:
            self.store.close()
