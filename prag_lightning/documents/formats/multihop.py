"""HotpotQA (arXiv:1809.09600) and 2WikiMultihopQA (arXiv:2011.01060): multi-hop questions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field

from prag_lightning.documents.entries import (
    Entry,
    ForeignRecord,
    NonEmpty,
    document_of,
    existing,
    rows_of,
)
from prag_lightning.documents.formats.sources import read_rows
from prag_lightning.documents.records import Document, Question, distinct, read_records


class _MultihopQuestion(ForeignRecord):
    id: NonEmpty = Field(validation_alias=AliasChoices("_id", "id"))
    question: NonEmpty
    # The test sets have no answers and no supporting facts.
    answer: str | None = None
    answer_id: str | None = None
    type: str | None = None
    # Title and sentences of each paragraph.
    context: Annotated[list[tuple[str, list[str]]], rows_of("title", "sentences")]
    # Title and sentence number of each supporting fact.
    supporting_facts: Annotated[tuple[tuple[str, int], ...], rows_of("title", "sent_id")] = ()


class _Aliases(ForeignRecord):
    entity_id: str = Field(alias="Q_id")
    aliases: list[str]


def read_hotpotqa(source: Path) -> Iterator[Entry]:
    """Read HotpotQA's ``hotpot_dev_distractor_v1.json``, or what ``datasets`` exports.

    A question's paragraphs become documents; those that contain its supporting facts are gold.

    Args:
        source: The JSON, JSON Lines or Parquet file.

    Yields:
        Each question with its paragraphs.
    """
    for row in read_rows(source, "HotpotQA's JSON, such as hotpot_dev_distractor_v1.json"):
        record = row.parse(_MultihopQuestion)
        # HotpotQA's sentences start with a space where one is needed.
        yield _entry(record, [record.answer], separator="")


def read_2wikimultihopqa(source: Path) -> Iterator[Entry]:
    """Read ``dev.json`` of 2WikiMultihopQA with ``id_aliases.json`` next to it.

    The answer and all aliases of its entity are accepted.

    Args:
        source: The folder, or ``dev.json`` in it.

    Yields:
        Each question with its paragraphs.
    """
    file = source / "dev.json" if source.is_dir() else source
    aliases = _read_aliases(existing(file, "2WikiMultihopQA's dev.json").parent)
    for row in read_rows(file, "2WikiMultihopQA's dev.json"):
        record = row.parse(_MultihopQuestion)
        accepted = [record.answer, *aliases.get(record.answer_id or "", [])]
        yield _entry(record, accepted, separator=" ")


def _read_aliases(folder: Path) -> dict[str, list[str]]:
    """Return the aliases of each entity; despite its name, the file is JSON Lines."""
    file = existing(
        folder / "id_aliases.json", "the aliases of answers, in the archive data_ids_april7.zip"
    )
    return {record.entity_id: record.aliases for record in read_records(file, _Aliases)}


def _entry(record: _MultihopQuestion, answers: list[str | None], separator: str) -> Entry:
    documents = [
        document_of(title, separator.join(sentences).strip()) for title, sentences in record.context
    ]
    return Entry(
        question=Question(
            id=record.id,
            question=record.question,
            answers=distinct(answers),
            document_ids=_gold(record, documents),
            type=record.type,
        ),
        # A repeated paragraph is one document.
        documents=tuple(dict.fromkeys(documents)),
    )


def _gold(record: _MultihopQuestion, documents: Sequence[Document]) -> list[str]:
    """Return the ids of the paragraphs with the supporting facts, or an empty list.

    Retrieved paragraphs, as in HotpotQA's full-wiki setting, may lack a required one.
    """
    gold: list[str] = []
    for title, number in record.supporting_facts:
        named = [place for place, paragraph in enumerate(record.context) if paragraph[0] == title]
        # Among paragraphs with the same title, only those that have the sentence count.
        holding = [place for place in named if number < len(record.context[place][1])]
        if not named:
            return []
        gold += [documents[place].id for place in holding or named]
    return distinct(gold)
