"""The base class of augmenters, and what they report while they work."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Protocol

from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.records import Augmentation, Document


class Listener(Protocol):
    """What an augmenter tells of its work, and what is known of earlier work."""

    def earlier(self, document_id: str) -> Failure | None:
        """Return the attempt before, if something good of it was kept."""
        ...

    def expect(self, num_requests: int) -> None:
        """Count requests to a language model that are to come; a negative number takes some off."""
        ...

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        """Take note of an answer.

        Args:
            document_id: What it is about.
            request: What was asked.
            reply: The answer.
            problem: Why it is of no use, if so.
        """
        ...

    def deliver(self, outcome: Outcome) -> None:
        """Take what became of a document, once it is known."""
        ...


class Augmenter(ABC):
    """Makes augmentations of documents. Derive from it for a way of your own.

    `max_attempts` is how often the same is tried: a document that failed after fewer attempts is
    tried again in the next run.
    """

    max_attempts: int = 1

    @property
    def settings(self) -> Settings:
        """Everything that augmentations depend on, by name.

        A file of augmentations is made with one set of these. Without a definition of its own, a
        class is described by its name and by its public attributes that are numbers or texts.
        """
        own = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and isinstance(value, str | int | float)
        }
        return {"generator": f"{type(self).__module__}.{type(self).__qualname__}", **own}

    @abstractmethod
    def augment(self, documents: Sequence[Document]) -> Iterable[Augmentation | Failure]:
        """Return an augmentation of each document, or why there is none.

        Args:
            documents: Each with an id of its own.

        Returns:
            One result for each document, in any order; each is written as soon as it comes.
        """

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Augment documents and tell a listener of each.

        Args:
            documents: Each with an id of its own.
            listener: Hears what became of them.

        Returns:
            What was asked of a language model.
        """
        for result in self.augment(documents):
            if isinstance(result, Failure):
                listener.deliver(Outcome(result.document_id, failure=result))
            else:
                listener.deliver(Outcome(result.document_id, augmentation=result))
        return Usage()
