"""Augments block after block of documents in one process, with a model that is loaded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.by_name import make_augmenter
from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.clusters.block_worker import BlockWorker
from prag_lightning.documents.records import Document


class AugmentingTask(NamedTuple):
    """A document to augment.

    Args:
        document: The document.
        earlier: The previous attempt if parts of it were kept.
    """

    document: Document
    earlier: Failure | None


class UselessAnswer(NamedTuple):
    """What a listener hears of an answer that cannot be used."""

    document_id: str
    request: Request
    reply: Reply
    problem: str


@dataclass
class AugmentedBlock:
    """What became of the documents of a block; also the listener that hears of it.

    Args:
        attempts: The previous attempts of which parts were kept, by document.
        outcomes: The outcomes.
        useless: Answers that cannot be used.
        usage: Usage of the language model.
    """

    attempts: Mapping[str, Failure | None] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    useless: list[UselessAnswer] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def earlier(self, document_id: str) -> Failure | None:
        """Return the previous attempt if parts of it were kept."""
        return self.attempts[document_id]

    def expect(self, num_requests: int) -> None:
        """Ignore the number of requests: a cluster's progress counts documents."""

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Keep an answer if it cannot be used.

        Args:
            document_id: The document.
            request: The request.
            reply: The answer.
            problem: Why the answer cannot be used; None if it can.
        """
        if problem is not None:
            self.useless.append(UselessAnswer(document_id, request, reply, problem))

    def deliver(self, outcome: Outcome) -> None:
        """Keep the outcome of a document."""
        self.outcomes.append(outcome)


class BlockAugmenter(BlockWorker[AugmentingTask, AugmentedBlock]):
    """Augments blocks with one augmenter.

    Args:
        augmenter: An augmenter, or an argument for `make_augmenter`.
        device: Where its model lies, ``cuda`` or ``cpu``.
    """

    def __init__(self, augmenter: Augmenter | str | Mapping[str, Any], device: str) -> None:
        self._augmenter = make_augmenter(augmenter)
        self._augmenter.stay_loaded(device)
        # Whoever made the augmenter has accepted its settings.
        self.has_begun = True

    def do(self, tasks: Sequence[AugmentingTask]) -> AugmentedBlock:
        """Augment documents, and return what became of each."""
        block = AugmentedBlock({task.document.id: task.earlier for task in tasks})
        block.usage = self._augmenter.run([task.document for task in tasks], block)
        return block

    def fail(self, task: AugmentingTask, reason: str) -> AugmentedBlock:
        """Return the failure of a document.

        Args:
            task: The document.
            reason: Why it failed.
        """
        return AugmentedBlock(outcomes=[failed_outcome(task, reason)])


def failed_outcome(task: AugmentingTask, reason: str) -> Outcome:
    """Return the outcome of a document that could not be augmented; what was kept of it stays.

    Args:
        task: The document.
        reason: Why.
    """
    earlier = task.earlier
    failure = Failure(
        document_id=task.document.id, reason=reason, missing=earlier.missing if earlier else ()
    )
    return Outcome(task.document.id, earlier.kept if earlier else None, failure)
