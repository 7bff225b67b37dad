"""A folder of documents: its files, what is searched in it, and the index that finds it."""

from pathlib import Path

from prag_lightning.data.documents import Document, read_records, read_unique
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.index_folder import is_index

DOCUMENTS = "documents.jsonl"
CORPUS = "corpus.jsonl"
INDEX = "index"


def documents_file(source: Path) -> Path:
    """Return the file of documents that ``source`` is, or has in it if it is a folder."""
    return source / DOCUMENTS if source.is_dir() else source


def read_documents(folder: Path) -> list[Document]:
    """Return the documents to encode, without exact repetitions.

    Raises:
        ValueError: If one id stands for two different documents.
    """
    return read_unique(folder / DOCUMENTS, Document)


def corpus_file(folder: Path) -> Path:
    """Return what is searched: the corpus where there is one, else the documents."""
    corpus = folder / CORPUS
    return corpus if corpus.exists() else folder / DOCUMENTS


def read_corpus(folder: Path) -> dict[str, Document]:
    """Return all documents that may be found or encoded, by id."""
    documents = (*read_records(corpus_file(folder), Document), *read_documents(folder))
    return {document.id: document for document in documents}


def find_index(folder: Path, run_dir: Path) -> Path:
    """Return where the BM25 index is: in the folder where there is one, else with the run."""
    beside = folder / INDEX
    return beside if is_index(beside) else run_dir / INDEX


def build_missing_index(folder: Path, index_dir: Path) -> None:
    """Build the folder's BM25 index where there is none."""
    if not index_dir.exists():
        corpus = corpus_file(folder)
        build_index(read_records(corpus, Document), index_dir, corpus)


def open_index(folder: Path, index_dir: Path) -> Retriever:
    """Return the retriever of the folder's BM25 index.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the corpus is no longer what it was built from.
    """
    return BM25Retriever(index_dir, corpus_file(folder))
