"""A listener that remembers everything."""

from prag_lightning.augmentation.outcomes import Failure, Outcome
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.documents.records import Augmentation


class Recorder:
    """Hears what an augmenter says of its work."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.problems: list[str] = []
        self.num_expected = self.num_heard = 0

    def earlier(self, document_id: str) -> Failure | None:
        return None

    def expect(self, num_requests: int) -> None:
        self.num_expected += num_requests

    def hear(self, document_id: str, request: Request, reply: Reply, problem: str | None) -> None:
        self.num_heard += 1
        if problem is not None:
            self.problems.append(problem)

    def deliver(self, outcome: Outcome) -> None:
        assert outcome.document_id not in self.outcomes
        self.outcomes[outcome.document_id] = outcome

    def augmentation(self, document_id: str) -> Augmentation:
        made = self.outcomes[document_id].augmentation
        assert made is not None
        return made

    def failure(self, document_id: str) -> Failure:
        failure = self.outcomes[document_id].failure
        assert failure is not None
        return failure
