"""Questions that a document does not answer: asking for them, and checking that it does not."""

import re
from collections.abc import Collection

from prag_lightning.augmentation.answers import AnswerError, read_answer, says_no_answer
from prag_lightning.augmentation.requests import Reply

# What parts are named: the question, and the request whether the document answers it.
OPEN, CHECK = "open", "check"
_LABEL = re.compile(r"\A[*_ ]*(?:Question|Q)[*_ ]*:[*_\s]*", re.IGNORECASE)
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")


class OpenQuestions:
    """The questions of a draft that its document does not answer.

    Each is requested, and then put to the model with the document in the prompt; it is kept if the
    model says that the document does not answer it.

    Args:
        number: How many are wanted.
    """

    def __init__(self, number: int) -> None:
        self._kept: dict[str, str | None] = {f"{OPEN} {n}": None for n in range(1, number + 1)}
        # Questions that were not checked yet, and those that the document answers.
        self._found: dict[str, str] = {}
        self._answered: list[str] = []

    def restore(self, questions: Collection[str], missing: Collection[str]) -> None:
        """Take over the questions of an earlier attempt.

        Args:
            questions: The questions.
            missing: Names of the parts that it lacked.
        """
        names = (name for name in self._kept if name not in missing)
        self._kept.update(zip(names, questions, strict=False))

    @property
    def kept(self) -> list[str]:
        """The questions that were checked."""
        return [question for question in self._kept.values() if question]

    @property
    def missing(self) -> list[str]:
        """Names of the parts that are not there."""
        return [name for name, question in self._kept.items() if question is None]

    @property
    def to_ask(self) -> list[str]:
        """Names of the questions to request."""
        return [name for name in self.missing if name not in self._found]

    @property
    def to_check(self) -> list[str]:
        """Names of the requests that check questions."""
        return [name.replace(OPEN, CHECK) for name in self._found]

    def question(self, name: str) -> str:
        """Return the question that a request checks."""
        return self._found.get(name.replace(CHECK, OPEN), "")

    def read(self, reply: Reply, asked: Collection[str]) -> str:
        """Return the question in a reply.

        Args:
            reply: The reply.
            asked: Other questions about the document.

        Raises:
            AnswerError: If there is none, or it was asked before.
        """
        question = _LABEL.sub("", read_answer(reply.text)).partition("\n")[0].strip("*_ \t\"'")
        if not question.endswith(_QUESTION_MARKS):
            raise AnswerError("no question")
        known = (*asked, *self.kept, *self._found.values(), *self._answered)
        if question.casefold() in map(str.casefold, known):
            raise AnswerError("a question that was asked before")
        return question

    def find(self, name: str, question: str) -> None:
        """Keep a question until it is checked.

        Args:
            name: Name of the part.
            question: The question.
        """
        self._found[name] = question

    def check(self, name: str, reply: Reply) -> None:
        """Keep a question for good if the document does not answer it, else ask for another.

        Args:
            name: Name of the request that checks it.
            reply: The reply.

        Raises:
            AnswerError: If there is an answer, or no reply.
        """
        part = name.replace(CHECK, OPEN)
        question = self._found.pop(part)
        if reply.problem is not None:
            raise AnswerError(reply.problem)
        if not says_no_answer(reply.text):
            self._answered.append(question)
            raise AnswerError("a question that the document answers")
        self._kept[part] = question
