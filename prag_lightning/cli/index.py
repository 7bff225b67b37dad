"""The command ``prag index``: make a corpus searchable."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prag_lightning.documents.records import Document


def index_bm25(corpus: Path, index_dir: Path | None = None) -> None:
    """Build a BM25 index on this machine; no server is needed.

    Args:
        corpus: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        index_dir: Folder of the index; an index that is there already is replaced. By default it
            is index beside the corpus, where prag test and prag ask look for it.
    """
    from prag_lightning.retrieval.bm25 import build_index
    from prag_lightning.retrieval.default_index import INDEX

    corpus = _corpus_file(corpus)
    index_dir = index_dir or corpus.with_name(INDEX)
    print(f"{build_index(_documents(corpus), index_dir, corpus)} documents indexed in {index_dir}")


def index_dense(
    corpus: Path, model: str, index_dir: Path | None = None, batch_size: int = 64
) -> None:
    """Build an index of embeddings; needs prag-lightning[dense].

    Args:
        corpus: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        index_dir: Folder of the index; an index that is there already is replaced. By default it
            is dense_index beside the corpus.
        model: A sentence-transformers model, by its name on the hub or its folder.
        batch_size: Documents embedded at once.
    """
    from prag_lightning.retrieval.dense import build_index

    corpus = _corpus_file(corpus)
    index_dir = index_dir or corpus.with_name("dense_index")
    num_documents = build_index(_documents(corpus), index_dir, model, corpus, batch_size)
    print(f"{num_documents} documents indexed in {index_dir}")


def index_elasticsearch(corpus: Path, index: str, url: str = "http://localhost:9200") -> None:
    """Build an index on an Elasticsearch or OpenSearch server; needs prag-lightning[elasticsearch].

    Args:
        corpus: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        index: Name of the index on the server.
        url: Address of the server; https://user:password@host:9200 where it asks for them.
    """
    from prag_lightning.retrieval.elasticsearch import build_index
    from prag_lightning.retrieval.search_server import SearchServer

    server = SearchServer(url)
    num_documents = build_index(_documents(_corpus_file(corpus)), server, index)
    print(f"{num_documents} documents indexed in '{index}' at {server.address}")


def _corpus_file(source: Path) -> Path:
    from prag_lightning.documents.folder import corpus_file

    return corpus_file(source) if source.is_dir() else source


def _documents(corpus: Path) -> "Iterator[Document]":
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.records import Document, read_records

    return counted(read_records(corpus, Document), "documents")


INDEX_COMMANDS: dict[str, Any] = {
    "bm25": index_bm25,
    "dense": index_dense,
    "elasticsearch": index_elasticsearch,
}
