"""Checking and passing on the outcomes that augmenters deliver."""

from collections.abc import Callable, Mapping, Sequence

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.outcomes import Failure, Outcome
from prag_lightning.augmentation.progress import Progress
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Augmentation, Document


class Deliveries:
    """The listener of a run: reports progress, and passes on each document's outcome once.

    Args:
        documents: The documents to augment.
        hand_on: Receives each outcome.
        progress: Reports the progress.
        earlier: Previous attempts of which parts were kept, by document.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        hand_on: Callable[[Outcome], None],
        progress: Progress,
        earlier: Mapping[str, Failure] | None = None,
    ) -> None:
        self._digests = {document.id: text_digest(document) for document in documents}
        self._hand_on = hand_on
        self._progress = progress
        self._earlier = earlier or {}

    def earlier(self, document_id: str) -> Failure | None:
        """Return the previous attempt if parts of it were kept."""
        return self._earlier.get(document_id)

    def expect(self, num_requests: int) -> None:
        """Add to the number of expected requests to a language model; may be negative."""
        self._progress.expect(num_requests)

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Record an answer.

        Args:
            document_id: The document.
            request: The request.
            reply: The answer.
            problem: Why the answer cannot be used; None if it can.
        """
        self._progress.hear(document_id, request, reply, problem)

    def deliver(self, outcome: Outcome) -> None:
        """Pass on the outcome of a document, with the digest of its text.

        Raises:
            ValueError: If the document was not requested, or was already delivered.
        """
        digest = self._digests.pop(outcome.document_id, None)
        if digest is None:
            raise ValueError(
                f"the augmenter returned document '{outcome.document_id}', which it was not given, "
                "or a second time"
            )
        made, failure = outcome.augmentation, outcome.failure
        update = {"text_digest": digest}
        self._hand_on(
            Outcome(
                outcome.document_id,
                made and made.model_copy(update=update),
                failure and failure.model_copy(update=update),
                outcome.usage,
                outcome.dropped,
            )
        )
        self._progress.finish_document()


def collect_outcomes(documents: Sequence[Document], augmenter: Augmenter) -> list[Outcome]:
    """Return the outcomes of documents, in the same order.

    Args:
        documents: Documents with distinct ids.
        augmenter: The augmenter.

    Raises:
        ValueError: If two documents share an id.
    """
    if len({document.id for document in documents}) < len(documents):
        raise ValueError("two documents have one id; give each its own")
    outcomes: dict[str, Outcome] = {}
    with Progress(len(documents)) as progress:
        deliveries = Deliveries(
            documents, lambda outcome: outcomes.update({outcome.document_id: outcome}), progress
        )
        augmenter.run(documents, deliveries)
    return [outcomes[document.id] for document in documents if document.id in outcomes]


def collect_results(
    documents: Sequence[Document], augmenter: Augmenter
) -> list[Augmentation | Failure]:
    """Return the augmentation of each document, or why it failed.

    Args:
        documents: Documents with distinct ids.
        augmenter: The augmenter.
    """
    results = (one.augmentation or one.failure for one in collect_outcomes(documents, augmenter))
    return [result for result in results if result is not None]
