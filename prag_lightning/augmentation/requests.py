"""Requests to a language model, and the replies."""

from dataclasses import dataclass
from typing import NamedTuple

from prag_lightning.augmentation.outcomes import Usage

_ONE_REQUEST = Usage(num_requests=1)


class Example(NamedTuple):
    """A user's turn and the assistant's answer that precede the prompt."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Request:
    """One prompt for a language model.

    Args:
        name: Name of the requested part.
        prompt: The user's turn.
        seed: Random seed for sampling the answer, below 2 ** 31.
        examples: Turns before the prompt.
        is_short: Whether a few words suffice as an answer.
    """

    name: str
    prompt: str
    seed: int
    examples: tuple[Example, ...] = ()
    is_short: bool = False


@dataclass(frozen=True)
class Reply:
    """The reply to a request.

    Args:
        text: The answer.
        usage: Usage of the language model.
        is_cut: Whether the answer was cut off at its maximum length or for endless repetition.
        problem: Why there is no answer, if repeating the request would not help.
    """

    text: str
    usage: Usage = _ONE_REQUEST
    is_cut: bool = False
    problem: str | None = None
