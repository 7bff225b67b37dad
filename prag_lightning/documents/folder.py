"""A folder of documents: which files it has, and what is searched in it."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import cast

from prag_lightning.documents.records import Document, read_unique
from prag_lightning.documents.stored import StoredDocuments

DOCUMENTS = "documents.jsonl"
CORPUS = "corpus.jsonl"


def documents_file(source: Path) -> Path:
    """Return the file of documents that ``source`` is, or has in it if it is a folder."""
    return source / DOCUMENTS if source.is_dir() else source


def read_documents(folder: Path) -> list[Document]:
    """Return the documents to encode, without exact repetitions.

    Raises:
        ValueError: If there is none, or one id stands for two different documents.
    """
    return read_unique(folder / DOCUMENTS, Document)


def corpus_file(folder: Path) -> Path:
    """Return what is searched: the corpus where there is one, else the documents."""
    corpus = folder / CORPUS
    return corpus if corpus.exists() else folder / DOCUMENTS


def read_corpus(folder: Path) -> Mapping[str, Document]:
    """Return all documents that may be found or encoded, by id; their texts stay on the disk.

    Where an id stands in both files, ``documents.jsonl`` counts, of which adapters are made.

    Raises:
        ValueError: If a file has no documents, or one id stands for two different ones.
    """
    documents = StoredDocuments(folder / DOCUMENTS)
    corpus = corpus_file(folder)
    if corpus == folder / DOCUMENTS:
        return documents
    # Nothing writes into it.
    parts = [
        cast("MutableMapping[str, Document]", part) for part in (documents, StoredDocuments(corpus))
    ]
    return ChainMap(*parts)
