"""Creating retrievers by short name or class path."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prag_lightning.documents.extensions import make_part
from prag_lightning.documents.folder import corpus_file
from prag_lightning.retrieval.address import redacted
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.default_index import open_index

SHORT_NAMES = {
    "bm25": "prag_lightning.retrieval.bm25.BM25Retriever",
    "dense": "prag_lightning.retrieval.dense.DenseRetriever",
    "elasticsearch": "prag_lightning.retrieval.elasticsearch.ElasticsearchRetriever",
    "given": "prag_lightning.retrieval.given.GivenRetriever",
    "run_file": "prag_lightning.retrieval.run_file.RunFileRetriever",
}
_ADDRESS = re.compile(r"\w[\w+.-]*://[^\s'\"]+")
DENSE_INDEX = "dense_index"
RUN_FILE = "retrieved.trec"


def make_retriever(
    spec: Retriever | str | Mapping[str, Any] | None, folder: Path, index_dir: Path
) -> Retriever:
    """Create the retriever that a setting describes.

    Args:
        spec: A retriever, its short name or class path, or a mapping of ``class_path``, either of
            these, and ``init_args``, the arguments of its constructor. None means ``bm25``. Short
            names have default paths in ``folder``: ``dense`` uses ``dense_index``, and ``run_file``
            uses ``retrieved.trec``.
        folder: Folder of the documents.
        index_dir: The BM25 index for ``bm25``, which is built if missing.

    Raises:
        FileNotFoundError: If an index or a file does not exist.
        ValueError: If there is no such retriever, or it does not accept these ``init_args``.
    """
    if spec in (None, "bm25", {"class_path": "bm25"}):
        return open_index(folder, index_dir)
    defaults = {
        "dense": {
            "index_dir": str(folder / DENSE_INDEX),
            "corpus_file": str(corpus_file(folder)),
        },
        "run_file": {"run_file": str(folder / RUN_FILE)},
    }
    try:
        return make_part("retriever", spec, Retriever, SHORT_NAMES, defaults)  # type: ignore[type-abstract]
    except ValueError as error:
        reason = _ADDRESS.sub(lambda address: redacted(address[0]), str(error))
        raise ValueError(reason) from None
