"""SQuAD (arXiv:1606.05250): questions about Wikipedia paragraphs."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from prag_lightning.documents.entries import (
    Entry,
    ForeignRecord,
    NonEmpty,
    document_of,
)
from prag_lightning.documents.formats.sources import Row, read_rows
from prag_lightning.documents.records import Document, Question, distinct


def _texts(answers: object) -> object:
    """Return the texts of the answers without their positions."""
    if not isinstance(answers, list):
        return answers
    return [answer.get("text") if isinstance(answer, dict) else answer for answer in answers]


class _Question(ForeignRecord):
    id: NonEmpty
    question: NonEmpty
    answers: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    is_impossible: bool = False


class _Paragraph(ForeignRecord):
    context: str
    qas: list[_Question]


class _Article(ForeignRecord):
    title: str = ""
    paragraphs: list[_Paragraph]


class _Columns(ForeignRecord):
    text: tuple[str, ...]


class _FlatQuestion(ForeignRecord):
    """A question as exported by ``datasets``; unanswerable if ``answers`` is empty."""

    id: NonEmpty
    title: str = ""
    context: str
    question: NonEmpty
    answers: _Columns


def read_squad(source: Path) -> Iterator[Entry]:
    """Read ``dev-v1.1.json`` or a similar file, or an export by ``datasets``.

    Each paragraph is a document. Questions that cannot be answered from their paragraph (version
    2.0) are left out.

    Args:
        source: The JSON, JSON Lines or Parquet file.

    Yields:
        Each question with its paragraph, and paragraphs without questions.
    """
    rows = read_rows(source, "SQuAD's JSON, such as dev-v1.1.json", key="data")
    for context, group in groupby(rows, _context_of):
        if context is not None:
            yield from _flat_entries([row.parse(_FlatQuestion) for row in group])
        else:
            for row in group:
                yield from _entries(row.parse(_Article))


def _context_of(row: Row) -> object:
    """Return the paragraph of a flat row; None for an article."""
    return row.value.get("context") if isinstance(row.value, dict) else None


def _flat_entries(rows: list[_FlatQuestion]) -> Iterator[Entry]:
    """Yield the entries of the questions about one paragraph."""
    document = _document(rows[0].title, rows[0].context)
    answerable = [row for row in rows if distinct(row.answers.text)]
    for row in answerable:
        question = _question(row.id, row.question, distinct(row.answers.text), document)
        yield Entry(question, documents=(document,))
    if not answerable:
        yield Entry(documents=(document,))


def _entries(article: _Article) -> Iterator[Entry]:
    for paragraph in article.paragraphs:
        document = _document(article.title, paragraph.context)
        answerable = [asked for asked in paragraph.qas if not asked.is_impossible]
        for asked in answerable:
            question = _question(asked.id, asked.question, distinct(asked.answers), document)
            yield Entry(question, documents=(document,))
        if not answerable:
            yield Entry(documents=(document,))


def _document(title: str, context: str) -> Document:
    return document_of(title.replace("_", " "), context)


def _question(question_id: str, question: str, answers: list[str], document: Document) -> Question:
    return Question(id=question_id, question=question, answers=answers, document_ids=[document.id])
