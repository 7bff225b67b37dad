"""ComplexWebQuestions (arXiv:1803.06643): questions without documents."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from prag_lightning.documents.entries import Entry, ForeignRecord, NonEmpty
from prag_lightning.documents.formats.sources import read_rows
from prag_lightning.documents.records import Question, distinct

_DEV_FILE = "ComplexWebQuestions_dev.json"


class _Answer(ForeignRecord):
    answer: str | None = None
    aliases: tuple[str, ...] = ()


class _ComplexWebQuestion(ForeignRecord):
    id: NonEmpty = Field(alias="ID")
    question: NonEmpty
    # The test set has no answers.
    answers: tuple[_Answer, ...] = ()


def read_complexwebquestions(source: Path) -> Iterator[Entry]:
    """Read ``ComplexWebQuestions_dev.json``; all answers and their aliases are accepted."""
    file = source / _DEV_FILE if source.is_dir() else source
    for row in read_rows(file, _DEV_FILE):
        record = row.parse(_ComplexWebQuestion)
        answers = distinct(
            text for answer in record.answers for text in (answer.answer, *answer.aliases)
        )
        yield Entry(Question(id=record.id, question=record.question, answers=answers))
