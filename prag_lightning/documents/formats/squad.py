"""SQuAD (arXiv:1606.05250): questions about paragraphs of Wikipedia."""

from collections.abc import Iterator
from pathlib import Path

from prag_lightning.documents.formats.entries import (
    Entry,
    ForeignRecord,
    NonEmpty,
    distinct,
    document_of,
    parse_entries,
    read_json,
)
from prag_lightning.documents.records import Question


class _Answer(ForeignRecord):
    text: str


class _Question(ForeignRecord):
    id: NonEmpty
    question: NonEmpty
    answers: tuple[_Answer, ...] = ()
    is_impossible: bool = False


class _Paragraph(ForeignRecord):
    context: str
    qas: list[_Question]


class _Article(ForeignRecord):
    title: str
    paragraphs: list[_Paragraph]


def read_squad(source: Path) -> Iterator[Entry]:
    """Read ``dev-v1.1.json`` or the like; each paragraph is a document.

    Questions that their paragraph does not answer (version 2.0) are left out.
    """
    content = read_json(source, "SQuAD's JSON, such as dev-v1.1.json")
    articles = content.get("data") if isinstance(content, dict) else content
    for article in parse_entries(articles, _Article, f"{source}: data"):
        for paragraph in article.paragraphs:
            document = document_of(article.title.replace("_", " "), paragraph.context)
            answerable = [asked for asked in paragraph.qas if not asked.is_impossible]
            for asked in answerable:
                yield Entry(_question(asked, document.id), documents=(document,))
            if not answerable:
                yield Entry(documents=(document,))


def _question(asked: _Question, document_id: str) -> Question:
    return Question(
        id=asked.id,
        question=asked.question,
        answers=distinct(answer.text for answer in asked.answers),
        document_ids=[document_id],
    )
