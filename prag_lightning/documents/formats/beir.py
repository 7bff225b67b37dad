"""BEIR (arXiv:2104.08663): a corpus, queries and relevance judgements."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from prag_lightning.documents.entries import (
    Entry,
    ForeignDocument,
    ForeignRecord,
    NonEmpty,
    existing,
)
from prag_lightning.documents.formats.sources import read_table
from prag_lightning.documents.records import Question, read_records


class _Query(ForeignRecord):
    id: NonEmpty = Field(alias="_id")
    text: NonEmpty


class _Relevance(ForeignRecord):
    query_id: str = Field(alias="query-id")
    document_id: str = Field(alias="corpus-id")
    score: float


def read_beir(source: Path) -> Iterator[Entry]:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv`` in a folder.

    Documents with a score above 0 are gold. Queries without relevance judgements belong to another
    split and are skipped. BEIR has no answers.

    Args:
        source: The folder.

    Yields:
        The queries, then the documents.
    """
    expected = "a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"
    relevant = _read_relevance(existing(source / "qrels" / "test.tsv", expected))
    for query in read_records(existing(source / "queries.jsonl", expected), _Query):
        if query.id in relevant:
            gold = relevant[query.id]
            yield Entry(Question(id=query.id, question=query.text, document_ids=gold))
    for document in read_records(existing(source / "corpus.jsonl", expected), ForeignDocument):
        yield Entry(documents=(document.as_document(),))


def _read_relevance(file: Path) -> dict[str, list[str]]:
    relevant: dict[str, list[str]] = {}
    with file.open("rb") as lines:
        for row in read_table(lines, _Relevance, str(file)):
            gold = relevant.setdefault(row.query_id, [])
            if row.score > 0:
                gold.append(row.document_id)
    return relevant
