"""What became of a document: its augmentation, what is missing in it, and what it took."""

from dataclasses import astuple, dataclass

from pydantic import Field

from prag_lightning.documents.records import Augmentation, Record


@dataclass(frozen=True)
class Usage:
    """What was asked of a language model.

    Args:
        num_requests: How many requests.
        num_prompt_tokens: Tokens read.
        num_new_tokens: Tokens written.
        num_refused: How many answers were of no use, or not enough.
        num_ungrounded: How many pairs and rewrites named what their document does not say.
    """

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0
    num_refused: int = 0
    num_ungrounded: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Return both together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Usage(*(one + another for one, another in pairs))


class Failure(Record):
    """Why a document has no augmentation, or not all of it, and the last answer that was refused.

    ``missing`` are the names of the parts that it lacks. ``kept`` is what was good, while the next
    attempt is made.
    """

    document_id: str = Field(min_length=1)
    reason: str
    num_attempts: int = 1
    answer: str = ""
    missing: tuple[str, ...] = ()
    text_digest: str | None = None
    kept: Augmentation | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one document: an augmentation, a failure, or both where it is incomplete."""

    document_id: str
    augmentation: Augmentation | None = None
    failure: Failure | None = None
    usage: Usage = Usage()
