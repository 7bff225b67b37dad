"""Retrieval by meaning: embeddings of sentence-transformers, searched with faiss."""

import json
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.index_folder import (
    CorpusStamp,
    IndexManifest,
    index_under_construction,
    read_manifest,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_VECTORS = "vectors.faiss"
_IDS = "document_ids.jsonl"
# Documents embedded between two additions to the index.
_CHUNK = 4096


def build_index(
    documents: Iterable[Document],
    index_dir: str | os.PathLike[str],
    model: str,
    corpus_file: str | os.PathLike[str] | None = None,
    batch_size: int = 64,
) -> int:
    """Write a dense index of the documents and return how many there are.

    Every vector is kept in memory and on disk, 4 bytes a number: 21 million documents of 768
    numbers take 65 GB.

    Args:
        documents: What is to be found, by title and text.
        index_dir: The index's folder; an index that is there already is replaced.
        model: A sentence-transformers model, by its name on the hub or its folder.
        corpus_file: The file that the documents come from, by which a stale index is noticed.
        batch_size: Documents embedded at once.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the libraries are missing, there are no documents, or the folder holds
            something else.
    """
    _require_libraries()
    import faiss

    if Path(model).is_dir():
        # Retrievers may start elsewhere.
        model = str(Path(model).resolve())
    encoder = _load_encoder(model)
    corpus = CorpusStamp.of(Path(corpus_file)) if corpus_file else None
    with index_under_construction(Path(index_dir)) as draft:
        index = None
        remaining = iter(documents)
        with (draft / _IDS).open("w", encoding="utf-8") as ids:
            while chunk := list(islice(remaining, _CHUNK)):
                vectors = encoder.encode_document(
                    [f"{document.title}\n{document.text}".strip() for document in chunk],
                    batch_size=batch_size,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
                index = index or faiss.IndexFlatIP(vectors.shape[1])
                index.add(vectors)
                ids.writelines(json.dumps(document.id) + "\n" for document in chunk)
        if index is None:
            raise ValueError("there are no documents to index")
        faiss.write_index(index, str(draft / _VECTORS))
        num_documents = int(index.ntotal)
        IndexManifest(kind="dense", num_documents=num_documents, corpus=corpus, model=model).write(
            draft
        )
    return num_documents


class DenseRetriever(Retriever):
    """Finds the documents whose embeddings are nearest to the question's, by cosine.

    The model is the one that the index was built with.

    Args:
        index_dir: The folder that ``prag index dense`` wrote.
        corpus_file: If given, the index must have been built from this file as it is now.
    """

    def __init__(
        self,
        index_dir: str | os.PathLike[str],
        corpus_file: str | os.PathLike[str] | None = None,
    ) -> None:
        folder = Path(index_dir)
        self.manifest = read_manifest(folder, "dense", Path(corpus_file) if corpus_file else None)
        _require_libraries()
        import faiss

        assert self.manifest.model is not None
        self._encoder = _load_encoder(self.manifest.model)
        self._index = faiss.read_index(str(folder / _VECTORS))
        with (folder / _IDS).open(encoding="utf-8") as ids:
            self._document_ids: list[str] = [json.loads(line) for line in ids]

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return the ``top_k`` nearest documents for each question, best first.

        Raises:
            ValueError: If ``top_k`` is less than 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; it must be at least 1")
        if not questions:
            return []
        vectors = self._encoder.encode_query(
            [question.question for question in questions],
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        scores, numbers = self._index.search(vectors, min(top_k, len(self._document_ids)))
        return [
            [
                RetrievedDocument(self._document_ids[number], float(score))
                for score, number in zip(*row, strict=True)
            ]
            for row in zip(scores, numbers, strict=True)
        ]


def _load_encoder(model: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return SentenceTransformer(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"embedding model '{model}' cannot be loaded ({reason}); give a folder that "
            "SentenceTransformer.save wrote, or a hub name that this machine can reach"
        ) from error


def _require_libraries() -> None:
    missing = [name for name in ("sentence_transformers", "faiss") if not find_spec(name)]
    if missing:
        raise ValueError(
            f"dense retrieval needs {' and '.join(missing)}; "
            "install them: pip install 'prag-lightning[dense]'"
        )
