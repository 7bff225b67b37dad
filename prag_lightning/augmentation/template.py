"""Augmentation without a language model, as a baseline and for tests."""

from collections.abc import Iterator, Sequence
from itertools import islice
from sys import maxsize

from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.settings import Settings
from prag_lightning.augmentation.statements import find_statements
from prag_lightning.augmentation.template_questions import draw_pairs
from prag_lightning.documents.records import Augmentation, Document


class TemplateAugmenter(Augmenter):
    """Makes augmentations from a document's own sentences; the result is deterministic.

    A rewrite consists of the document's sentences in another order, without headings.

    Args:
        num_rewrites: Number of rewrites per document.
        num_qas: Number of question-answer pairs per document. The first ones ask about one sentence
            each.

    Raises:
        ValueError: If a number is invalid.
    """

    def __init__(self, num_rewrites: int = 1, num_qas: int = 3) -> None:
        if num_rewrites < 0 or num_qas < 0 or num_rewrites + num_qas == 0:
            raise ValueError(
                f"num_rewrites {num_rewrites} and num_qas {num_qas}: give at least 1 of either"
            )
        self._num_rewrites = num_rewrites
        self._num_qas = num_qas

    @property
    def settings(self) -> Settings:
        """All settings that the augmentations depend on."""
        return {
            "generator": "template",
            "num_rewrites": self._num_rewrites,
            "num_qas": self._num_qas,
        }

    def augment(self, documents: Sequence[Document]) -> Iterator[Augmentation | Failure]:
        """Yield the augmentation of each document, or why it failed.

        Args:
            documents: Documents with distinct ids.
        """
        for outcome in map(self._augment, documents):
            if result := outcome.augmentation or outcome.failure:
                yield result

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Report the outcome of each document in order; no model is used.

        Args:
            documents: Documents with distinct ids.
            listener: Receives the outcomes.
        """
        for document in documents:
            listener.deliver(self._augment(document))
        return Usage()

    def _augment(self, document: Document) -> Outcome:
        sentences = find_statements(document)
        qas = list(islice(draw_pairs(sentences, document.title), min(self._num_qas, maxsize)))
        starts = (n % len(sentences) for n in range(1, self._num_rewrites + 1) if sentences)
        rewrites = [" ".join(sentences[start:] + sentences[:start]) for start in starts]
        made = Augmentation(document_id=document.id, rewrites=rewrites, qas=qas)
        failure = None
        if len(qas) < self._num_qas or len(rewrites) < self._num_rewrites:
            reason = f"its sentences give {len(qas)} of {self._num_qas} question-answer pairs"
            failure = Failure(document_id=document.id, reason=reason)
        return Outcome(document.id, made if qas or rewrites else None, failure)
