"""What augmenters deliver, checked and handed on."""

from collections.abc import Callable, Mapping, Sequence

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.outcomes import Failure, Outcome
from prag_lightning.augmentation.progress import Progress
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Document


class Deliveries:
    """The listener of a run: says how far it is, and hands on each document's outcome once.

    Args:
        documents: What is to be augmented.
        hand_on: Takes each outcome.
        progress: Counts.
        earlier: Attempts before of which something good was kept, by document.
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
        """Return the attempt before, if something good of it was kept."""
        return self._earlier.get(document_id)

    def expect(self, num_requests: int) -> None:
        """Count requests to a language model that are to come; a negative number takes some off."""
        self._progress.expect(num_requests)

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Take note of an answer.

        Args:
            document_id: What it is about.
            request: What was asked.
            reply: The answer.
            problem: Why it is of no use, if so.
        """
        self._progress.hear(document_id, request, reply, problem)

    def deliver(self, outcome: Outcome) -> None:
        """Hand on what became of a document, with the digest of its text.

        Raises:
            ValueError: If the document was not asked for, or has been delivered before.
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
            )
        )
        self._progress.finish_document()


def collect_outcomes(documents: Sequence[Document], augmenter: Augmenter) -> list[Outcome]:
    """Return what becomes of documents, in their order.

    Args:
        documents: Each with an id of its own.
        augmenter: What makes the augmentations.

    Raises:
        ValueError: If two documents have one id.
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
