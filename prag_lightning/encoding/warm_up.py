"""The question-answer pairs that a warm start is trained on, treated as one large document."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from prag_lightning.documents.records import Augmentation, Question, read_records
from prag_lightning.encoding.plan import EncodingTask, TrainingPrompt
from prag_lightning.encoding.planning import EncodingPlan
from prag_lightning.language_model.templates import clean_question

# The id under which the warm start is encoded, and the name of its folder.
WARM_START_ID = "warm_start"


class WarmUpPair(NamedTuple):
    """A question and its answer, in short and, if known, as a sentence."""

    question: str
    answer: str
    full_answer: str | None = None


class _AnyLine(BaseModel):
    model_config = ConfigDict(extra="allow")


def read_pairs(file: Path) -> list[WarmUpPair]:
    """Return the question-answer pairs of a file of questions or of augmentations.

    Raises:
        ValueError: If there are none, or a question has no answer.
    """
    first = next(read_records(file, _AnyLine), _AnyLine())
    augmented = "qas" in (first.model_extra or {})
    pairs = list(_pairs_of_augmentations(file) if augmented else _pairs_of_questions(file))
    if not pairs:
        raise ValueError(f"{file}: holds no question-answer pairs to train a warm start on")
    return pairs


def _pairs_of_augmentations(file: Path) -> Iterator[WarmUpPair]:
    for augmentation in read_records(file, Augmentation):
        for qa in augmentation.qas:
            yield WarmUpPair(qa.question, qa.answer, qa.full_answer)


def _pairs_of_questions(file: Path) -> Iterator[WarmUpPair]:
    for question in read_records(file, Question):
        if not question.answers:
            raise ValueError(
                f"{file}: question '{question.id}' has no answers; a warm start is trained on "
                "questions that have one, so give each its own or leave it out"
            )
        yield WarmUpPair(question.question, question.answers[0])


def refuse_overlap(pairs: Sequence[WarmUpPair], questions_file: Path) -> None:
    """Check that the warm start is not trained on questions it is evaluated on later.

    Args:
        pairs: What the warm start is trained on.
        questions_file: The questions that are answered later.

    Raises:
        ValueError: If a question of ``questions_file`` is among the pairs; names it.
    """
    trained = {_as_asked(pair.question) for pair in pairs}
    for question in read_records(questions_file, Question):
        if _as_asked(question.question) in trained:
            raise ValueError(
                f"question '{question.id}' of {questions_file} ({question.question!r}) is among "
                "the questions of the warm start, which would know its answer; leave it out of one"
            )


def _as_asked(question: str) -> str:
    """Return a question normalized for comparison: without case, spaces and punctuation."""
    return clean_question(" ".join(question.split())).casefold()


def plan_warm_up(file: Path, questions_file: Path | None, own: bool) -> EncodingPlan:
    """Return the encoding of a warm start: one task, whose prompts have no passages.

    Args:
        file: Questions or augmentations to train on.
        questions_file: Questions that must not be among them; None for none.
        own: Whether this process trains it; otherwise the plan is empty.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a question to answer is among those to train on.
    """
    pairs = read_pairs(file)
    if questions_file is not None:
        refuse_overlap(pairs, questions_file)
    prompts = [TrainingPrompt(p.question, (), p.answer, p.full_answer) for p in pairs]
    return EncodingPlan([EncodingTask(WARM_START_ID, prompts)] if own else [], {}, Counter())
