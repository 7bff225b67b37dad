"""Dense retrieval: sentence-transformers embeddings, searched with faiss."""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.documents.still_running import still_running
from prag_lightning.retrieval.base import Retriever, require_positive
from prag_lightning.retrieval.extras import require_libraries
from prag_lightning.retrieval.index_building import IndexDraft, index_draft
from prag_lightning.retrieval.index_folder import read_manifest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_VECTORS = "vectors.faiss"
_IDS = "document_ids.jsonl"
# Number of documents to embed between additions to the index.
_CHUNK = 4096


def build_index(
    documents: Iterable[Document],
    index_dir: str | os.PathLike[str],
    model: str,
    corpus_file: str | os.PathLike[str] | None = None,
    batch_size: int = 64,
) -> int:
    """Build a dense index of documents, and return their number.

    Exact duplicates are indexed once. All vectors are kept in memory and on disk, with 4 bytes per
    number: 21 million documents with 768 dimensions take 65 GB.

    Args:
        documents: The documents to index, by title and text.
        index_dir: Folder of the index; an existing index is replaced.
        model: Hub name or folder of a sentence-transformers model.
        corpus_file: The file that contains the documents, recorded to detect a stale index.
        batch_size: Number of documents to embed at once.

    Returns:
        The number of distinct documents.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If libraries are missing, two different documents share an id, there are no
            documents, or the folder contains something other than an index.
        OSError: If the index cannot be written, or another process is building it.
    """
    require_libraries("dense", "sentence_transformers", "faiss")
    if Path(model).is_dir():
        # Made absolute, since retrievers may run in another working directory.
        model = str(Path(model).resolve())
    with index_draft(documents, Path(index_dir), "dense", corpus_file, model) as draft:
        _write(_load_encoder(model), draft, batch_size)
    return draft.num_documents


def _write(encoder: "SentenceTransformer", draft: IndexDraft, batch_size: int) -> None:
    import faiss

    index = None
    remaining = iter(draft.documents)
    with (draft.folder / _IDS).open("w", encoding="utf-8") as ids:
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
    if index is not None:
        try:
            faiss.write_index(index, str(draft.folder / _VECTORS))
        except RuntimeError as error:
            raise draft.disk_error(error) from error


class DenseRetriever(Retriever):
    """Finds the documents whose embeddings have the highest cosine similarity to the question's.

    It uses the model with which the index was built.

    Args:
        index_dir: Folder written by ``prag index dense``.
        corpus_file: If given, the index must have been built from the current contents of this
            file.

    Raises:
        FileNotFoundError: If there is no index, or its model no longer exists.
        ValueError: If it is damaged, or an index of another kind, version or corpus.
    """

    def __init__(
        self,
        index_dir: str | os.PathLike[str],
        corpus_file: str | os.PathLike[str] | None = None,
    ) -> None:
        folder = Path(index_dir)
        corpus = Path(corpus_file) if corpus_file else None
        self.manifest = read_manifest(folder, "dense", corpus)
        require_libraries("dense", "sentence_transformers", "faiss")
        import faiss

        self._encoder = _load_encoder(self.manifest.model or "")
        with still_running(lambda: f"loading {folder}"):
            self._index = faiss.read_index(str(folder / _VECTORS))
        with (folder / _IDS).open(encoding="utf-8") as ids:
            self._document_ids: list[str] = [json.loads(line) for line in ids]

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return the ``top_k`` nearest documents for each question, best first.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question.

        Raises:
            ValueError: If ``top_k`` is less than 1.
        """
        require_positive(top_k)
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
    try:
        with still_running(lambda: f"loading the embedding model '{model}'"):
            if not Path(model).is_dir():
                _require_reachable(model)
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()
            return SentenceTransformer(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"embedding model '{model}' cannot be loaded ({reason}); give a folder that "
            "SentenceTransformer.save wrote, or a hub name that this machine can reach"
        ) from error


def _require_reachable(model: str) -> None:
    """Fail immediately if a model is neither on this machine nor on a reachable hub.

    transformers would retry six times, for 24 seconds, for each missing file.

    Raises:
        OSError: If the model cannot be reached.
        ValueError: If its name is invalid.
    """
    from huggingface_hub import snapshot_download

    snapshot_download(model, allow_patterns="modules.json")
