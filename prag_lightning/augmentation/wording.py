"""The requests for one document's augmentation, each with a seed of its own."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property

from prag_lightning.augmentation.open_questions import CHECK, OPEN
from prag_lightning.augmentation.prompts import (
    answer_prompt,
    open_question_prompt,
    question_prompt,
    single_pair_prompt,
    text_prompt,
)
from prag_lightning.augmentation.requests import Request
from prag_lightning.augmentation.settings import Order
from prag_lightning.augmentation.statements import find_statements
from prag_lightning.documents.records import Document

LIST = "question-answer pairs"


class Wording:
    """Formulates the requests for a document's augmentation.

    Args:
        document: The document to augment.
        order: What to make of it.
    """

    def __init__(self, document: Document, order: Order) -> None:
        self._document = document
        self._order = order

    def request(self, name: str, attempt: int, question: str = "") -> Request:
        """Return the request for a part.

        Args:
            name: `LIST`, or a kind and a number, such as ``pair 1``, ``answer 1`` or ``rewrite 2``.
            attempt: Number of earlier requests for the part; each attempt has another seed.
            question: The question, for an ``answer`` or a ``check``.
        """
        text, seed = self._document.text, self._seed(name, attempt)
        kind = name.partition(" ")[0]
        if name == LIST:
            return Request(name, question_prompt(text, self._order.num_qas), seed)
        if kind == OPEN:
            return Request(name, open_question_prompt(text), seed, is_short=True)
        if kind in ("answer", CHECK):
            return Request(name, answer_prompt(question, text), seed, is_short=True)
        if kind == "pair":
            turn = _turn(name, attempt)
            sentence = self.sentence(name, attempt)
            prompt, examples = single_pair_prompt(sentence, self._document.title, turn)
            return Request(name, prompt, seed, examples, is_short=True)
        return Request(name, text_prompt(kind, text), seed)

    def sentence(self, name: str, attempt: int) -> str:
        """Return the sentence for a single pair, which differs by pair and by attempt.

        Args:
            name: Name of the part, such as ``pair 1``.
            attempt: Number of earlier requests for the part.
        """
        return self._statements[_turn(name, attempt) % len(self._statements)]

    def sentence_with(self, answer: str) -> str:
        """Return the first sentence that contains an answer, or the answer itself."""
        # ASCII answers must match whole words, unlike those in scripts without spaces.
        words = rf"(?<![0-9A-Za-z]){re.escape(answer)}(?![0-9A-Za-z])"
        found = (s for s in self._statements if re.search(words, s, re.IGNORECASE))
        return next(found, answer)

    @cached_property
    def _statements(self) -> Sequence[str]:
        return find_statements(self._document) or [self._document.text]

    def _seed(self, name: str, attempt: int) -> int:
        """Return a reproducible seed that differs for each part and attempt."""
        origin = (self._order.seed, self._document.id, name, attempt)
        digest = hashlib.sha256("\0".join(map(str, origin)).encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1


def _turn(name: str, attempt: int) -> int:
    return int(name.partition(" ")[2]) - 1 + attempt
