"""Checking the parts of a draft against its document, and recording what was dropped."""

from prag_lightning.augmentation.answers import AnswerError, read_text
from prag_lightning.augmentation.grounding import Grounding
from prag_lightning.augmentation.outcomes import Dropped
from prag_lightning.augmentation.requests import Reply
from prag_lightning.documents.records import Document, QuestionAnswer

# Rewrites shorter than this share of the document's length are summaries.
_LEAST_LENGTH = 1 / 3


class PartCheck:
    """Drops pairs, texts and questions that a document does not bear out.

    Args:
        document: The document.
        grounded: Whether to drop any.

    Attributes:
        dropped: What was dropped so far.
    """

    def __init__(self, document: Document, grounded: bool) -> None:
        self._document_id = document.id
        self._grounding = Grounding(document)
        self._grounded = grounded
        self.dropped: list[Dropped] = []

    def problem_of_pair(self, name: str, pair: QuestionAnswer, sentence: str | None = None) -> str:
        """Return why a pair is dropped; empty if it is kept.

        Args:
            name: Name of the part.
            pair: The pair.
            sentence: The sentence that it is about, if it is about a single one.
        """
        problem = self._grounding.problem_of_pair(pair)
        if sentence is not None and not problem:
            problem = self._grounding.problem_of_answer(pair, sentence)
        return self._noted(name, problem, f"{pair.question} {pair.answer}")

    def problem_of_question(self, name: str, question: str) -> str:
        """Return why a question is dropped; empty if it is kept.

        Args:
            name: Name of the part.
            question: The question.
        """
        return self._noted(name, self._grounding.problem_of_question(question), question)

    def good_text(self, name: str, reply: Reply) -> str:
        """Return the text in a reply.

        Args:
            name: Name of the part.
            reply: The reply.

        Raises:
            AnswerError: If there is none, or it is dropped.
        """
        text = read_text(reply.text)
        if reply.is_cut:
            raise AnswerError("an unfinished text")
        least_length = _LEAST_LENGTH if name.startswith("rewrite") else 0.0
        problem = self._grounding.problem_of_text(text, least_length)
        if problem := self._noted(name, problem, text):
            raise AnswerError(problem)
        return text

    def _noted(self, part: str, reason: str, text: str) -> str:
        if not reason or not self._grounded:
            return ""
        dropped = Dropped(document_id=self._document_id, part=part, reason=reason, text=text)
        self.dropped.append(dropped)
        return reason
