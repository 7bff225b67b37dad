"""BM25 without a server: an index of titles and texts in a folder of this machine."""

import os
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tantivy

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.index_folder import (
    CorpusStamp,
    IndexManifest,
    index_under_construction,
    read_manifest,
)

# One field's score counts whole, the other's half, as published (oneal2000/PRAG at e03742e).
_TIE_BREAKER = 0.5
# Memory for the postings of documents not yet on disk, in bytes.
_WRITER_MEMORY = 128_000_000
_ANALYZER = "prag_english"

# Words as Lucene's standard tokenizer finds them (Unicode Standard Annex 29), near enough: "U.S.A."
# and "15,140" are one word each, every ideograph is one.
_LETTER = r"[\w--[\p{Han}\p{Hiragana}]]"
_WORD = rf"[\p{{Han}}\p{{Hiragana}}]|\d+(?:[.,]\d+)+|{_LETTER}+(?:['\u2019.]{_LETTER}+)*"
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019\uff07][sS]\b")
# Lucene's default stop words of English.
_STOP_WORDS = [
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is"),
    *("it", "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there"),
    *("these", "they", "this", "to", "was", "will", "with"),
]


def english_analyzer() -> tantivy.TextAnalyzer:
    """Return the analysis of Elasticsearch's ``english``, but for the newer Porter stemmer.

    Possessives are not its business: `without_possessives` goes first.
    """
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.custom_stopword(_STOP_WORDS))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def without_possessives(text: str) -> str:
    """Return the text without the ``'s`` at the ends of its words."""
    return _POSSESSIVE.sub("", text)


def build_index(
    documents: Iterable[Document],
    index_dir: str | os.PathLike[str],
    corpus_file: str | os.PathLike[str] | None = None,
) -> int:
    """Write a BM25 index of the documents and return how many there are.

    The documents are read once, one at a time. The folder appears when the index is whole.

    Args:
        documents: What is to be found.
        index_dir: The index's folder; an index that is there already is replaced.
        corpus_file: The file that the documents come from, by which a stale index is noticed.

    Raises:
        ValueError: If two documents have the same id, or the folder holds something else.
    """
    corpus = CorpusStamp.of(Path(corpus_file)) if corpus_file else None
    with index_under_construction(Path(index_dir)) as draft:
        num_documents = _write(documents, draft)
        IndexManifest(kind="bm25", num_documents=num_documents, corpus=corpus).write(draft)
    return num_documents


def _write(documents: Iterable[Document], folder: Path) -> int:
    index = tantivy.Index(_schema(), path=str(folder))
    index.register_tokenizer(_ANALYZER, english_analyzer())
    # One thread: the order of the documents, which decides between equal scores, stays.
    writer = index.writer(heap_size=_WRITER_MEMORY, num_threads=1)
    id_hashes = array("q")
    try:
        for document in documents:
            writer.add_document(_indexed(document))
            id_hashes.append(hash(document.id))
        _require_unique(id_hashes)
        writer.commit()
    finally:
        # Else it goes on writing into a folder that a failed build is removing.
        writer.wait_merging_threads()
    return len(id_hashes)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True)
    builder.add_text_field("title", tokenizer_name=_ANALYZER, index_option="freq")
    builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    return builder.build()


def _indexed(document: Document) -> tantivy.Document:
    indexed = tantivy.Document()
    indexed.add_bytes("id", document.id.encode())
    indexed.add_text("title", without_possessives(document.title))
    indexed.add_text("text", without_possessives(document.text))
    return indexed


def _require_unique(id_hashes: "array[int]") -> None:
    """Hold 8 bytes a document, not its id: a corpus can have tens of millions."""
    hashes = np.frombuffer(id_hashes, dtype=np.int64)
    order = np.argsort(hashes, kind="stable")
    (twice,) = np.nonzero(np.diff(hashes[order]) == 0)
    if twice.size:
        first, second = order[twice[0]] + 1, order[twice[0] + 1] + 1
        raise ValueError(
            f"documents number {first} and {second} have the same id; give each document its own"
        )


class BM25Retriever(Retriever):
    """Finds documents by BM25 over titles and texts (k1 1.2, b 0.75).

    A document's score is its better field's plus half of the other's, as in the published query.

    Args:
        index_dir: The folder that ``prag index bm25`` wrote.
        corpus_file: If given, the index must have been built from this file as it is now.
    """

    def __init__(
        self,
        index_dir: str | os.PathLike[str],
        corpus_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.manifest = read_manifest(
            Path(index_dir), "bm25", Path(corpus_file) if corpus_file else None
        )
        index = tantivy.Index.open(str(index_dir))
        self._schema = index.schema
        self._searcher = index.searcher()
        self._analyzer = english_analyzer()

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Documents that share no word with the question are not found.

        Raises:
            ValueError: If ``top_k`` is less than 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be at least 1")
        return [self._search(question.question, top_k) for question in questions]

    def _search(self, question: str, top_k: int) -> list[RetrievedDocument]:
        query = self._query(question)
        hits = self._searcher.search(query, limit=top_k, count=False).hits
        found = [
            RetrievedDocument(self._searcher.doc(address)["id"][0].decode(), score)
            for score, address in hits
        ]
        return sorted(found, key=lambda one: (-one.score, one.document_id))

    def _query(self, question: str) -> tantivy.Query:
        """Return the query made of terms: a question is not written in a query language."""
        terms = self._analyzer.analyze(without_possessives(question))
        fields = [
            tantivy.Query.boolean_query(
                [
                    (
                        tantivy.Occur.Should,
                        tantivy.Query.term_query(self._schema, field, term, index_option="freq"),
                    )
                    for term in terms
                ]
            )
            for field in ("title", "text")
        ]
        return tantivy.Query.disjunction_max_query(fields, tie_breaker=_TIE_BREAKER)
