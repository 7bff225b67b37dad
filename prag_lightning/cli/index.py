"""The command ``prag index``: make a corpus searchable."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

if TYPE_CHECKING:
    from prag_lightning.documents.records import Document


def index_bm25(corpus: Path, index_dir: Path | None = None) -> None:
    """Build a BM25 index on this machine, without a server.

    prag test, predict and ask build it automatically if they need it.

    Args:
        corpus: JSON Lines file of documents with id (or _id), title and text, or the folder that
            holds corpus.jsonl or documents.jsonl.
        index_dir: Folder to write the index into; an existing index is replaced. By default
            the folder index beside the corpus, where prag test, predict and ask look for it.
    """
    from prag_lightning.retrieval.bm25 import build_index
    from prag_lightning.retrieval.default_index import INDEX

    corpus = _corpus_file(corpus)
    index_dir = index_dir or corpus.with_name(INDEX)
    num_documents = build_index(_documents(corpus), index_dir, corpus)
    print(f"{num_documents} documents indexed in {index_dir}")


def index_dense(
    corpus: Path, model: str, index_dir: Path | None = None, batch_size: PositiveInt = 64
) -> None:
    """Build an index of embeddings, to search by meaning; needs prag-lightning[dense].

    Args:
        corpus: JSON Lines file of documents with id (or _id), title and text, or the folder that
            holds corpus.jsonl or documents.jsonl.
        model: A sentence-transformers model: its name on the hub, or its folder.
        index_dir: Folder to write the index into; an existing index is replaced. By default
            the folder dense_index beside the corpus.
        batch_size: How many documents are embedded at once.
    """
    from prag_lightning.retrieval.by_name import DENSE_INDEX
    from prag_lightning.retrieval.dense import build_index

    corpus = _corpus_file(corpus)
    index_dir = index_dir or corpus.with_name(DENSE_INDEX)
    num_documents = build_index(_documents(corpus), index_dir, model, corpus, batch_size)
    print(f"{num_documents} documents indexed in {index_dir}")


def index_elasticsearch(corpus: Path, index: str, url: str = "http://localhost:9200") -> None:
    """Build an index on an Elasticsearch or OpenSearch server; needs prag-lightning[elasticsearch].

    User and password, if the server needs them, are read from the environment variables
    PRAG_SEARCH_USER and PRAG_SEARCH_PASSWORD.

    Args:
        corpus: JSON Lines file of documents with id (or _id), title and text, or the folder that
            holds corpus.jsonl or documents.jsonl.
        index: Name of the index on the server.
        url: Address of the server, without user and password.
    """
    from prag_lightning.retrieval.elasticsearch import build_index, open_server

    corpus = _corpus_file(corpus)
    server = open_server(url)
    num_documents = build_index(_documents(corpus), server, index)
    print(f"{num_documents} documents indexed in '{index}' at {server.address}")


def _corpus_file(source: Path) -> Path:
    from prag_lightning.documents.folder import corpus_file

    return corpus_file(source) if source.is_dir() else source


def _documents(corpus: Path) -> "Iterator[Document]":
    from prag_lightning.documents.records import Document, read_records

    return read_records(corpus, Document)


INDEX_COMMANDS: dict[str, Any] = {
    "bm25": index_bm25,
    "dense": index_dense,
    "elasticsearch": index_elasticsearch,
}
