"""A folder of documents: the names of its files, and the corpus to search."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import cast

from prag_lightning.documents.records import Document
from prag_lightning.documents.stored import StoredDocuments

DOCUMENTS = "documents.jsonl"
CORPUS = "corpus.jsonl"


def documents_file(source: Path) -> Path:
    """Return ``source`` itself, or its file of documents if it is a folder."""
    return source / DOCUMENTS if source.is_dir() else source


def corpus_file(folder: Path) -> Path:
    """Return the file to search: the corpus if there is one, otherwise the documents."""
    corpus = folder / CORPUS
    return corpus if corpus.exists() else folder / DOCUMENTS


def read_corpus(folder: Path) -> Mapping[str, Document]:
    """Return all documents that can be retrieved or encoded, by id; their texts stay on disk.

    If an id is in both files, the document in ``documents.jsonl`` is used, since it is encoded.

    Raises:
        ValueError: If a file has no documents, or two different documents in it share an id.
    """
    documents = StoredDocuments(folder / DOCUMENTS)
    corpus = corpus_file(folder)
    if corpus == folder / DOCUMENTS:
        return documents
    # The cast is safe because nothing writes to the mappings.
    parts = [
        cast("MutableMapping[str, Document]", part) for part in (documents, StoredDocuments(corpus))
    ]
    return ChainMap(*parts)
