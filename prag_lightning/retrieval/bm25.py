"""BM25 without a server: an index of titles and texts in a folder of this machine."""

import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import tantivy

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.analysis import make_analyzer, prepare
from prag_lightning.retrieval.base import Retriever, require_positive
from prag_lightning.retrieval.index_building import IndexDraft, index_draft
from prag_lightning.retrieval.index_folder import read_manifest

# One field's score counts whole, the other's half, as published (oneal2000/PRAG at e03742e).
_TIE_BREAKER = 0.5
# Memory for the postings of documents not yet on disk, in bytes.
_WRITER_MEMORY = 128_000_000
_ANALYZER = "prag"


def build_index(
    documents: Iterable[Document],
    index_dir: str | os.PathLike[str],
    corpus_file: str | os.PathLike[str] | None = None,
) -> int:
    """Write a BM25 index of documents and return how many there are.

    The documents are read once, one at a time; exact repetitions count once. The folder appears
    when the index is complete.

    Args:
        documents: The documents to be found.
        index_dir: The index's folder; an index that is there already is replaced.
        corpus_file: The file that the documents come from, so that a stale index is noticed.

    Returns:
        The number of different documents.

    Raises:
        ValueError: If one id stands for two documents, there are none, or the folder holds
            something other than an index.
        OSError: If the index cannot be written, or another process is building it.
    """
    with index_draft(documents, Path(index_dir), "bm25", corpus_file) as draft:
        _write(draft)
    return draft.num_documents


def _write(draft: IndexDraft) -> None:
    with _disk_errors(draft):
        index = tantivy.Index(_schema(), path=str(draft.folder))
        index.register_tokenizer(_ANALYZER, make_analyzer())
        # One thread keeps the documents' order, which decides between equal scores.
        writer = index.writer(heap_size=_WRITER_MEMORY, num_threads=1)
    try:
        for document in draft.documents:
            with _disk_errors(draft):
                writer.add_document(_indexed(document))
        with _disk_errors(draft):
            writer.commit()
    finally:
        # It would go on writing into a folder that a failed build is removing.
        with suppress(ValueError):
            writer.wait_merging_threads()


@contextmanager
def _disk_errors(draft: IndexDraft) -> Iterator[None]:
    """Turn what tantivy raises where it cannot write, without saying why, into an error of a disk.

    Raises:
        OSError: Instead of ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise draft.disk_error(error) from error


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True)
    builder.add_text_field("title", tokenizer_name=_ANALYZER, index_option="freq")
    builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    return builder.build()


def _indexed(document: Document) -> tantivy.Document:
    indexed = tantivy.Document()
    indexed.add_bytes("id", document.id.encode())
    indexed.add_text("title", prepare(document.title))
    indexed.add_text("text", prepare(document.text))
    return indexed


class BM25Retriever(Retriever):
    """Finds documents by BM25 over titles and texts (k1 1.2, b 0.75).

    A document's score is its better field's plus half of the other's, as in the published query.

    Args:
        index_dir: The folder that ``prag index bm25`` wrote.
        corpus_file: If given, the index must have been built from this file as it is now.

    Raises:
        FileNotFoundError: If there is no index; names the command that builds it.
        ValueError: If it is an index of another kind, version or corpus, or damaged.
    """

    def __init__(
        self,
        index_dir: str | os.PathLike[str],
        corpus_file: str | os.PathLike[str] | None = None,
    ) -> None:
        corpus = Path(corpus_file) if corpus_file else None
        self.manifest = read_manifest(Path(index_dir), "bm25", corpus)
        index = tantivy.Index.open(str(self._writable(Path(index_dir))))
        self._searcher = index.searcher()
        self._schema = index.schema
        self._analyzer = make_analyzer()

    def _writable(self, index_dir: Path) -> Path:
        """Return the folder, or one of links to its files where nothing may be written.

        tantivy writes a lock file beside the files that it opens.
        """
        if os.access(index_dir, os.W_OK):
            return index_dir
        links = Path(mkdtemp(prefix="prag-index-"))
        weakref.finalize(self, shutil.rmtree, links, ignore_errors=True)
        for file in index_dir.resolve().iterdir():
            if not file.name.startswith("."):
                (links / file.name).symlink_to(file)
        return links

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Documents that share no word with the question are not found.

        Args:
            questions: The questions.
            top_k: How many documents are wanted for each.

        Raises:
            ValueError: If ``top_k`` is less than 1.
        """
        require_positive(top_k)
        top_k = min(top_k, self.manifest.num_documents)
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
        terms = self._analyzer.analyze(prepare(question))
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
