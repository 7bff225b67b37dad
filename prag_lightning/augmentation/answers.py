"""Reading a language model's answer, and rejecting useless ones."""

import re

from prag_lightning.augmentation.prompts import WORDS_OF_REQUESTS
from prag_lightning.augmentation.thoughts import without_thoughts

_REFUSAL = re.compile(
    r"(i['\u2019]?m|i am) (very |so )?(sorry|afraid|unable)|sorry\b|i apologi[sz]e"
    r"|(unfortunately, )?i (can['\u2019]?t|cannot|can not|won['\u2019]?t|will not)\b|as an ai\b",
    re.IGNORECASE,
)
# A line that introduces the text: "Sure! Here is a new version:", "**Rewritten passage:**".
_PREFACE = re.compile(
    r"[^\n.]{0,100}\b(?:rewr\w+|revised|rephras\w+|paraphras\w+|version|passage|summary|facts"
    r"|implications|conclusions|here is|here's)\b"
    r"[^\n.]{0,60}:[*_ ]*(?:\n+|\Z)",
    re.IGNORECASE,
)

_LABEL = re.compile(r"\A[*_ ]*(?:Answer|A)[*_ ]*:[*_\s]*", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"\bunanswerable\b|\bnot (?:mentioned|stated|provided|specified|given|answered)\b"
    r"|\bdoes(?: not|n['\u2019]t) (?:mention|state|provide|specify|give|answer|say)\b",
    re.IGNORECASE,
)


class AnswerError(ValueError):
    """A model's answer cannot be used; the message says why."""


def read_answer(text: str) -> str:
    """Return a model's answer without its thoughts.

    Raises:
        AnswerError: If it is empty, a refusal, or ends within a thought.
    """
    answer = without_thoughts(text)
    if answer is None:
        raise AnswerError("a thought without an end")
    if not answer:
        raise AnswerError("an empty answer")
    if _REFUSAL.match(answer):
        raise AnswerError("a refusal")
    return answer


def read_text(text: str) -> str:
    """Return a text that a model wrote, without a line that introduces it.

    Raises:
        AnswerError: If there is none, or the model repeats the request.
    """
    answer = read_answer(text)
    preface = _PREFACE.match(answer)
    found = answer[preface.end() :].strip() if preface else answer
    if not found:
        raise AnswerError("an empty answer")
    if any(words in found.casefold() for words in WORDS_OF_REQUESTS):
        raise AnswerError("words about the request")
    return found


def read_few_words(text: str) -> str:
    """Return a model's short answer: its first line, without a label.

    Raises:
        AnswerError: If there is none, or the model says that it has no answer.
    """
    answer = _first_line(text)
    if _NO_ANSWER.search(answer):
        raise AnswerError("the document does not answer the question")
    return answer


def says_no_answer(text: str) -> bool:
    """Return whether a model says that the document does not answer a question.

    Raises:
        AnswerError: If it says nothing.
    """
    return bool(_NO_ANSWER.search(_first_line(text)))


def _first_line(text: str) -> str:
    answer = _LABEL.sub("", read_answer(text)).partition("\n")[0].strip("*_ \t")
    if not answer:
        raise AnswerError("an empty answer")
    return answer
