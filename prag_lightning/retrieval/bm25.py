"""BM25 without a server: a local index of titles and texts."""

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

# The better field's score counts fully, the other's half, as published (oneal2000/PRAG at e03742e).
_TIE_BREAKER = 0.5
# Memory for the postings of documents not yet on disk, in bytes.
_WRITER_MEMORY = 128_000_000
_ANALYZER = "prag"


def build_index(
    documents: Iterable[Document],
    index_dir: str | os.PathLike[str],
    corpus_file: str | os.PathLike[str] | None = None,
) -> int:
    """Build a BM25 index of documents, and return their number.

    The documents are read once, one at a time, and exact duplicates are indexed once. The folder
    appears when the index is complete.

    Args:
        documents: The documents to index.
        index_dir: Folder of the index; an existing index is replaced.
        corpus_file: The file that contains the documents, recorded to detect a stale index.

    Returns:
        The number of distinct documents.

    Raises:
        ValueError: If two different documents share an id, there are none, or the folder contains
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
        # A single thread keeps the order of the documents, which breaks ties.
        writer = index.writer(heap_size=_WRITER_MEMORY, num_threads=1)
    try:
        for document in draft.documents:
            with _disk_errors(draft):
                writer.add_document(_indexed(document))
        with _disk_errors(draft):
            writer.commit()
    finally:
        # Otherwise it would continue to write to a folder that is being removed.
        with suppress(ValueError):
            writer.wait_merging_threads()


@contextmanager
def _disk_errors(draft: IndexDraft) -> Iterator[None]:
    """Convert tantivy's unspecific write errors to errors about the disk.

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

    A document's score is that of its better field plus half that of the other, as published.

    Args:
        index_dir: Folder written by ``prag index bm25``.
        corpus_file: If given, the index must have been built from the current contents of this
            file.

    Raises:
        FileNotFoundError: If there is no index; the message names the command that builds it.
        ValueError: If it is damaged, or an index of another kind, version or corpus.
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
        """Return the folder, or a writable folder of links to its files if it is read-only.

        tantivy writes a lock file next to the files that it opens.
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

        Documents that share no word with the question are not returned.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question.

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
        """Build the query from terms, since a question must not be parsed as query syntax."""
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
