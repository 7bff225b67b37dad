"""A folder of documents: its files, what is searched in it, and the index that finds it."""

from pathlib import Path

from prag_lightning.documents.records import Document, read_records, read_unique

DOCUMENTS = "documents.jsonl"
CORPUS = "corpus.jsonl"


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
