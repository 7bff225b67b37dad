"""The outcome of augmenting a document: its augmentation, failure and usage."""

from dataclasses import astuple, dataclass

from pydantic import Field

from prag_lightning.documents.records import Augmentation, Record


@dataclass(frozen=True)
class Usage:
    """Usage of a language model.

    Args:
        num_requests: Number of requests.
        num_prompt_tokens: Number of prompt tokens.
        num_new_tokens: Number of generated tokens.
        num_refused: Number of useless or incomplete answers.
        num_ungrounded: Number of pairs and rewrites with content that is not in the document.
    """

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0
    num_refused: int = 0
    num_ungrounded: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sum of both."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Usage(*(one + another for one, another in pairs))


class Failure(Record):
    """Why a document has no augmentation or an incomplete one, with the last rejected answer.

    ``missing`` names the parts that it lacks. ``kept`` contains the good parts until the next
    attempt.
    """

    document_id: str = Field(min_length=1)
    reason: str
    num_attempts: int = 1
    answer: str = ""
    missing: tuple[str, ...] = ()
    text_digest: str | None = None
    kept: Augmentation | None = None


class Dropped(Record):
    """A pair, text or question that was dropped because the document does not say it."""

    document_id: str = Field(min_length=1)
    part: str
    reason: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """Outcome for one document: an augmentation, a failure, or both if it is incomplete."""

    document_id: str
    augmentation: Augmentation | None = None
    failure: Failure | None = None
    usage: Usage = Usage()
    dropped: tuple[Dropped, ...] = ()
