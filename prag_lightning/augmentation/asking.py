"""What augmenters with a language model have in common: an order, and drafts that ask for it."""

from collections.abc import Sequence

from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.deliveries import collect_outcomes
from prag_lightning.augmentation.draft import Draft
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Order
from prag_lightning.documents.records import Augmentation, Document


class ModelAugmenter(Augmenter):
    """Asks a language model for rewrites and question-answer pairs.

    Args:
        order: What is wanted of every document.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.max_attempts = order.max_attempts

    def augment(self, documents: Sequence[Document]) -> list[Augmentation | Failure]:
        """Return what was made of each document, or why there is nothing.

        Args:
            documents: Each with an id of its own.
        """
        results = (o.augmentation or o.failure for o in collect_outcomes(documents, self))
        return [result for result in results if result is not None]

    def announce(self, documents: Sequence[Document], listener: Listener) -> None:
        """Tell a listener how many requests documents take at least.

        Args:
            documents: What is to be augmented.
            listener: Counts them.
        """
        for document in documents:
            listener.expect(self._draft(document, listener).num_open)

    def begin(self, documents: Sequence[Document], listener: Listener) -> list[Draft]:
        """Return a draft of each document that there is something to ask about.

        Args:
            documents: What to augment.
            listener: Knows what is good already, and hears of documents that are done unasked.
        """
        drafts = [self._draft(document, listener) for document in documents]
        for draft in drafts:
            if not draft.num_open:
                listener.deliver(draft.outcome)
        return [draft for draft in drafts if draft.num_open]

    def take(self, draft: Draft, request: Request, reply: Reply, listener: Listener) -> None:
        """Let a draft have an answer, and deliver its outcome once it is done.

        Args:
            draft: What asked.
            request: What was asked.
            reply: The answer.
            listener: Hears of both.
        """
        num_before = draft.num_open
        problem = draft.accept(request, reply)
        listener.expect(draft.num_open - num_before + 1)
        listener.hear(draft.document_id, request, reply, problem)
        if not draft.num_open:
            listener.deliver(draft.outcome)

    def _draft(self, document: Document, listener: Listener) -> Draft:
        return Draft(document, self.order, listener.earlier(document.id))
