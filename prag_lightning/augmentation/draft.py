"""One document on its way to its augmentation: what to ask next, what came of the answers."""

import hashlib
from dataclasses import dataclass

from pydantic import Field

from prag_lightning.augmentation.parsing import AnswerError, parse_qas, parse_rewrite
from prag_lightning.augmentation.prompts import question_prompt, rewrite_prompt
from prag_lightning.augmentation.settings import Order
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer, Record

_PAIRS = "question-answer pairs"


@dataclass(frozen=True)
class Request:
    """One prompt for a language model, with the seed of its answer's sampling, below 2 ** 31."""

    name: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Usage:
    """What was asked of a language model: how many requests, tokens read and tokens written."""

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Return both together."""
        return Usage(
            self.num_requests + other.num_requests,
            self.num_prompt_tokens + other.num_prompt_tokens,
            self.num_new_tokens + other.num_new_tokens,
        )


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Args:
        text: The answer.
        usage: What it took.
        is_cut: Whether the answer was stopped at its greatest length.
        problem: Why there is no answer, where the same request would have none again.
    """

    text: str
    usage: Usage = Usage(num_requests=1)
    is_cut: bool = False
    problem: str | None = None


class Failure(Record):
    """A document that could not be augmented: why, after how many attempts, and the last answer."""

    document_id: str = Field(min_length=1)
    reason: str
    num_attempts: int
    answer: str


@dataclass(frozen=True)
class Outcome:
    """What became of one document, and what it took."""

    result: Augmentation | Failure
    usage: Usage = Usage()


class Draft:
    """Asks for the parts of a document's augmentation, each again while its answer is of no use.

    Args:
        document: What to augment.
        order: What is wanted of it.
    """

    def __init__(self, document: Document, order: Order) -> None:
        self._document = document
        self._order = order
        self._attempts = dict.fromkeys(self._names(), 0)
        self._rewrites: dict[str, str] = {}
        self._qas: list[QuestionAnswer] = []
        self._failure: Failure | None = None
        self._usage = Usage()
        if not document.text.strip():
            self._fail("the document has no text", num_attempts=0, answer="")

    @property
    def requests(self) -> list[Request]:
        """What to ask now; nothing once the document is done or has failed."""
        if self._failure is not None:
            return []
        done = {*self._rewrites, *([_PAIRS] if self._qas else [])}
        return [self._request(name) for name in self._names() if name not in done]

    def accept(self, request: Request, reply: Reply) -> None:
        """Take an answer in, or see to it that the request is made again."""
        self._usage += reply.usage
        self._attempts[request.name] += 1
        if self._failure is not None:
            return
        try:
            self._take(request.name, reply)
        except AnswerError as error:
            attempts = self._attempts[request.name]
            if attempts >= self._order.max_attempts or reply.problem is not None:
                self._fail(f"{request.name}: {error}", attempts, reply.text)

    @property
    def outcome(self) -> Outcome:
        """What became of the document, once there are no more requests."""
        assert not self.requests
        return Outcome(self._failure or self._augmentation(), self._usage)

    def _augmentation(self) -> Augmentation:
        rewrites = [self._rewrites[name] for name in self._names() if name != _PAIRS]
        return Augmentation(document_id=self._document.id, rewrites=rewrites, qas=self._qas)

    def _names(self) -> list[str]:
        # Pairs fail more often than rewrites, which are then not asked for.
        return [_PAIRS, *(f"rewrite {number + 1}" for number in range(self._order.num_rewrites))]

    def _request(self, name: str) -> Request:
        text = self._document.text
        return Request(
            name=name,
            prompt=(
                question_prompt(text, self._order.num_qas)
                if name == _PAIRS
                else rewrite_prompt(text)
            ),
            seed=_derive_seed(self._order.seed, self._document.id, name, self._attempts[name]),
        )

    def _take(self, name: str, reply: Reply) -> None:
        if reply.problem is not None:
            raise AnswerError(reply.problem)
        try:
            if name == _PAIRS:
                self._qas = parse_qas(reply.text, self._order.num_qas)
            else:
                self._rewrites[name] = _whole_rewrite(reply)
        except AnswerError as error:
            end = f" (cut after {reply.usage.num_new_tokens} tokens)" if reply.is_cut else ""
            raise AnswerError(f"{error}{end}") from error

    def _fail(self, reason: str, num_attempts: int, answer: str) -> None:
        self._failure = Failure(
            document_id=self._document.id, reason=reason, num_attempts=num_attempts, answer=answer
        )


def _whole_rewrite(reply: Reply) -> str:
    rewrite = parse_rewrite(reply.text)
    if reply.is_cut:
        raise AnswerError("an unfinished text")
    return rewrite


def _derive_seed(*origin: object) -> int:
    """Return a seed that is always the same for one origin, and another for every other."""
    digest = hashlib.sha256("\0".join(map(str, origin)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
