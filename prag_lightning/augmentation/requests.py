"""What a language model is asked, and what it answers."""

from dataclasses import dataclass
from typing import NamedTuple

from prag_lightning.augmentation.outcomes import Usage

_ONE_REQUEST = Usage(num_requests=1)


class Example(NamedTuple):
    """A turn of the user and the assistant's, before the turn that is to be answered."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Request:
    """One prompt for a language model.

    Args:
        name: What is asked for.
        prompt: The user's turn.
        seed: Of the sampling of its answer, below 2 ** 31.
        examples: Turns before it.
        is_short: Whether a few words answer it.
    """

    name: str
    prompt: str
    seed: int
    examples: tuple[Example, ...] = ()
    is_short: bool = False


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Args:
        text: The answer.
        usage: What it took.
        is_cut: Whether the answer was stopped at its greatest length, or in an endless repetition.
        problem: Why there is no answer, where the same request would have none again.
    """

    text: str
    usage: Usage = _ONE_REQUEST
    is_cut: bool = False
    problem: str | None = None
