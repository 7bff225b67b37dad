"""The base class of augmenters, and the interface for reporting their progress."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.records import Augmentation, Document


class Listener(Protocol):
    """Receives the progress of an augmenter, and provides results of earlier runs."""

    def earlier(self, document_id: str) -> Failure | None:
        """Return the previous attempt if parts of it were kept."""
        ...

    def expect(self, num_requests: int) -> None:
        """Add to the number of expected requests to a language model; may be negative."""
        ...

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Record an answer.

        Args:
            document_id: The document.
            request: The request.
            reply: The answer.
            problem: Why the answer cannot be used; None if it can.
        """
        ...

    def deliver(self, outcome: Outcome) -> None:
        """Receive the outcome of a document."""
        ...


class Augmenter(ABC):
    """Makes augmentations of documents. Derive from it to write an augmenter of your own.

    A document that failed after fewer than `max_attempts` attempts is tried again in the next run.
    """

    max_attempts: int = 1

    @property
    def settings(self) -> Settings:
        """All settings that augmentations depend on, by name.

        All augmentations in a file share the same settings. By default, these are the name of the
        class and its public attributes that are numbers or strings.
        """
        own = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and isinstance(value, str | int | float)
        }
        return {"generator": f"{type(self).__module__}.{type(self).__qualname__}", **own}

    @abstractmethod
    def augment(self, documents: Sequence[Document]) -> Iterable[Augmentation | Failure]:
        """Return an augmentation of each document, or why it failed.

        Args:
            documents: Documents with distinct ids.

        Returns:
            One result per document, in any order; each is written as soon as it is yielded.
        """

    def stay_loaded(self, device: str) -> None:  # noqa: B027 - nothing need be loaded
        """Load what every `run` needs, and keep it from one to the next.

        Workers of a cluster, which get one block of documents after another, call it first. By
        default nothing is loaded.

        Args:
            device: ``cuda`` or ``cpu``.
        """

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Augment documents, and report each outcome to a listener.

        Args:
            documents: Documents with distinct ids.
            listener: Receives the outcomes.

        Returns:
            Usage of the language model.
        """
        for result in self.augment(documents):
            if isinstance(result, Failure):
                listener.deliver(Outcome(result.document_id, failure=result))
            else:
                listener.deliver(Outcome(result.document_id, augmentation=result))
        return Usage()
