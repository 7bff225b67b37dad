"""The BM25 index of a folder of documents."""

from pathlib import Path

from prag_lightning.documents.folder import corpus_file
from prag_lightning.documents.records import Document, read_records
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.index_folder import is_index

INDEX = "index"


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
