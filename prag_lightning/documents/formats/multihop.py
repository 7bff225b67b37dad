"""HotpotQA (arXiv:1809.09600) and 2WikiMultihopQA (arXiv:2011.01060): questions over passages."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from prag_lightning.documents.formats.entries import (
    Entry,
    ForeignRecord,
    NonEmpty,
    distinct,
    document_of,
    existing,
    read_json_array,
)
from prag_lightning.documents.records import Document, Question, read_records


class _MultihopQuestion(ForeignRecord):
    id: NonEmpty = Field(alias="_id")
    question: NonEmpty
    # The test sets have neither answers nor supporting facts.
    answer: str | None = None
    answer_id: str | None = None
    type: str | None = None
    # Title and sentences of each paragraph.
    context: list[tuple[str, list[str]]]
    # Title and number of each sentence that the answer rests on.
    supporting_facts: tuple[tuple[str, int], ...] = ()


class _Aliases(ForeignRecord):
    entity_id: str = Field(alias="Q_id")
    aliases: list[str]


def read_hotpotqa(source: Path) -> Iterator[Entry]:
    """Read HotpotQA's ``hotpot_dev_distractor_v1.json``.

    The paragraphs of each question become documents, those of its supporting facts its gold ones.
    """
    expected = "HotpotQA's JSON, such as hotpot_dev_distractor_v1.json"
    for record in read_json_array(source, _MultihopQuestion, expected):
        # HotpotQA's sentences begin with their space.
        yield _entry(record, [record.answer], separator="")


def read_2wikimultihopqa(source: Path) -> Iterator[Entry]:
    """Read ``dev.json`` of 2WikiMultihopQA with ``id_aliases.json`` beside it.

    Accepted are the answer and all aliases of the entity that it is.
    """
    file = source / "dev.json" if source.is_dir() else source
    aliases = _read_aliases(existing(file, "2WikiMultihopQA's dev.json").parent)
    for record in read_json_array(file, _MultihopQuestion, "2WikiMultihopQA's dev.json"):
        accepted = [record.answer, *aliases.get(record.answer_id or "", [])]
        yield _entry(record, accepted, separator=" ")


def _read_aliases(folder: Path) -> dict[str, list[str]]:
    """Return the aliases of each entity; the file is JSON Lines in spite of its name."""
    file = existing(
        folder / "id_aliases.json", "the aliases of answers, in the archive data_ids_april7.zip"
    )
    return {record.entity_id: record.aliases for record in read_records(file, _Aliases)}


def _entry(record: _MultihopQuestion, answers: list[str | None], separator: str) -> Entry:
    documents = {
        title: document_of(title, separator.join(sentences).strip())
        for title, sentences in record.context
    }
    return Entry(
        question=Question(
            id=record.id,
            question=record.question,
            answers=distinct(answers),
            document_ids=_gold(record, documents),
            type=record.type,
        ),
        documents=tuple(documents.values()),
    )


def _gold(record: _MultihopQuestion, documents: dict[str, Document]) -> list[str]:
    titles = distinct(title for title, _ in record.supporting_facts)
    if not all(title in documents for title in titles):
        # Retrieved paragraphs, as in HotpotQA's full-wiki setting: some gold is not among them.
        return []
    return [documents[title].id for title in titles]
