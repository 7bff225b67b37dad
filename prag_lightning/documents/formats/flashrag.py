"""FlashRAG (arXiv:2405.13576): JSON Lines of questions or of a corpus."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prag_lightning.documents.entries import Entry, ForeignRecord, NonEmpty
from prag_lightning.documents.records import Document, Question, distinct, read_records


class _Line(ForeignRecord):
    id: NonEmpty
    # Fields of a question.
    question: NonEmpty | None = None
    golden_answers: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    # Field of a document: the title and then the text.
    contents: str | None = None


def read_flashrag(source: Path) -> Iterator[Entry]:
    """Read questions (``id``, ``question``, ``golden_answers``) or documents (``contents``)."""
    for number, line in enumerate(read_records(source, _Line), start=1):
        if line.contents is not None:
            yield Entry(documents=(_document(line.id, line.contents),))
        elif line.question is not None:
            yield Entry(_question(line, line.question))
        else:
            raise ValueError(
                f"{source}: record {number}, id '{line.id}': neither a question nor a document; "
                "expected the field 'question' or 'contents'"
            )


def _document(document_id: str, contents: str) -> Document:
    title, newline, text = contents.partition("\n")
    if not newline:
        return Document(id=document_id, text=contents)
    return Document(id=document_id, title=title.strip().strip('"'), text=text)


def _question(line: _Line, question: str) -> Question:
    kind = (line.metadata or {}).get("type")
    return Question(
        id=line.id,
        question=question,
        answers=distinct(line.golden_answers),
        type=kind if isinstance(kind, str) else None,
    )
