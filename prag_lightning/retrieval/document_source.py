"""A source of documents, either a folder or objects, and the retriever for them."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path

from prag_lightning.documents.folder import DOCUMENTS, read_corpus
from prag_lightning.documents.in_memory import write_documents
from prag_lightning.documents.records import Document, say_repeated
from prag_lightning.documents.stored import StoredDocuments, StoredRecords
from prag_lightning.language_model.embedded import DEMO
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.by_name import make_retriever
from prag_lightning.retrieval.default_index import build_missing_index, find_index


class DocumentSource:
    """Documents, and how they are retrieved for questions.

    Documents given as objects are written to a temporary folder and read from there.

    Args:
        documents: Folder of the documents, ``demo`` for the embedded data set, or the documents.
        retriever: A retriever, a function that creates it, or its name; None for BM25.
        run_dir: Returns the folder of the run, for files derived from the documents.
    """

    def __init__(
        self,
        documents: str | Path | Iterable[Document],
        retriever: Retriever | Callable[[], Retriever] | str | None,
        run_dir: Callable[[], Path],
    ) -> None:
        self._documents = documents
        self._retriever = retriever
        self._run_dir = run_dir

    @property
    def is_demo(self) -> bool:
        """Whether the documents are the embedded data set."""
        return self._documents == DEMO

    @property
    def folder(self) -> Path:
        """Folder of the documents' files."""
        if self.is_demo:
            return self._run_dir() / "data"
        if isinstance(self._documents, str | Path):
            return Path(self._documents)
        return self._folder_of_objects

    @cached_property
    def _folder_of_objects(self) -> Path:
        assert not isinstance(self._documents, str | Path)
        folder = Path(tempfile.mkdtemp(prefix="prag-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        write_documents(folder, self._documents)
        return folder

    @property
    def index_dir(self) -> Path:
        """Folder of the BM25 index."""
        in_memory = not isinstance(self._documents, str | Path)
        return find_index(self.folder, self.folder if in_memory else self._run_dir())

    def open_documents(
        self, wanted: Callable[[str], bool] | None = None
    ) -> StoredRecords[Document]:
        """Return the documents to encode, of those ids that are wanted; by default all."""
        file = self.folder / DOCUMENTS
        documents = StoredRecords(file, Document, wanted)
        say_repeated(file, documents.num_repeated)
        return documents

    def read_corpus(self) -> Mapping[str, Document]:
        """Return all documents that can be retrieved, by id."""
        return read_corpus(self.folder)

    def read_ids(self) -> list[str]:
        """Return the ids of the documents to encode."""
        return list(StoredDocuments(self.folder / DOCUMENTS))

    def open_retriever(self) -> Retriever:
        """Return the retriever for questions."""
        spec = self._retriever
        if callable(spec):
            return spec()
        return make_retriever(spec, self.folder, self.index_dir)

    def prepare_index(self) -> None:
        """Build the BM25 index if it is needed and missing."""
        if self._retriever in (None, "bm25"):
            build_missing_index(self.folder, self.index_dir)
