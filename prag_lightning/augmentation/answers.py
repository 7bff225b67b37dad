"""What a language model's answer says, and when it says nothing of use."""

import re

from prag_lightning.augmentation.prompts import REWRITE_WORDS
from prag_lightning.augmentation.thoughts import without_thoughts

_REFUSAL = re.compile(
    r"(i['\u2019]?m|i am) (very |so )?(sorry|afraid|unable)|sorry\b|i apologi[sz]e"
    r"|(unfortunately, )?i (can['\u2019]?t|cannot|can not|won['\u2019]?t|will not)\b|as an ai\b",
    re.IGNORECASE,
)
# A line that announces the text: "Sure! Here is a new version:", "**Rewritten passage:**".
_PREFACE = re.compile(
    r"[^\n.]{0,100}\b(?:rewr\w+|revised|rephras\w+|paraphras\w+|version|passage|here is|here's)\b"
    r"[^\n.]{0,60}:[*_ ]*(?:\n+|\Z)",
    re.IGNORECASE,
)


class AnswerError(ValueError):
    """A model's answer is of no use; says why."""


def read_answer(text: str) -> str:
    """Return what a model says, without its thoughts.

    Raises:
        AnswerError: If it says nothing, refuses, or is not done with thinking.
    """
    answer = without_thoughts(text)
    if answer is None:
        raise AnswerError("a thought without an end")
    if not answer:
        raise AnswerError("an empty answer")
    if _REFUSAL.match(answer):
        raise AnswerError("a refusal")
    return answer


def read_rewrite(text: str) -> str:
    """Return a passage in a model's words, without a line that announces it.

    Raises:
        AnswerError: If there is none, or the model repeats what it was asked.
    """
    answer = read_answer(text)
    preface = _PREFACE.match(answer)
    rewrite = answer[preface.end() :].strip() if preface else answer
    if any(words in rewrite.casefold() for words in REWRITE_WORDS):
        raise AnswerError("words about the rewrite")
    if not rewrite:
        raise AnswerError("an empty answer")
    return rewrite
