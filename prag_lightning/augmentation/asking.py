"""The base class of augmenters that use a language model."""

from collections.abc import Sequence

from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.deliveries import collect_results
from prag_lightning.augmentation.draft import Draft
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Order
from prag_lightning.documents.records import Augmentation, Document


class ModelAugmenter(Augmenter):
    """Asks a language model for rewrites and question-answer pairs.

    Args:
        order: What to make of each document.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.max_attempts = order.max_attempts

    def augment(self, documents: Sequence[Document]) -> list[Augmentation | Failure]:
        """Return the augmentation of each document, or why it failed.

        Args:
            documents: Documents with distinct ids.
        """
        return collect_results(documents, self)

    def announce(self, documents: Sequence[Document], listener: Listener) -> None:
        """Report the minimum number of requests for documents.

        Args:
            documents: The documents to augment.
            listener: Receives the number.
        """
        for document in documents:
            listener.expect(self._draft(document, listener).num_open)

    def begin(self, documents: Sequence[Document], listener: Listener) -> list[Draft]:
        """Return a draft of each document that needs requests.

        Args:
            documents: The documents to augment.
            listener: Provides earlier results, and receives documents that need no request.
        """
        drafts = [self._draft(document, listener) for document in documents]
        for draft in drafts:
            if not draft.num_open:
                listener.deliver(draft.outcome)
        return [draft for draft in drafts if draft.num_open]

    def take(self, draft: Draft, request: Request, reply: Reply, listener: Listener) -> None:
        """Pass an answer to a draft, and deliver the outcome once the draft is complete.

        Args:
            draft: The draft that made the request.
            request: The request.
            reply: The answer to it.
            listener: Receives the answer and the outcome.
        """
        num_before = draft.num_open
        problem = draft.accept(request, reply)
        listener.expect(draft.num_open - num_before + 1)
        listener.hear(draft.document_id, request, reply, problem)
        if not draft.num_open:
            listener.deliver(draft.outcome)

    def _draft(self, document: Document, listener: Listener) -> Draft:
        return Draft(document, self.order, listener.earlier(document.id))
