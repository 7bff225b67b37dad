"""The BM25 index of a folder of documents, built and updated automatically."""

import os
import sys
from pathlib import Path

from prag_lightning.documents.folder import CORPUS, DOCUMENTS, corpus_file
from prag_lightning.documents.records import Document, read_records
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index
from prag_lightning.retrieval.index_building import building_lock
from prag_lightning.retrieval.index_folder import building_command, is_index, load_manifest

INDEX = "index"


def find_index(folder: Path, run_dir: Path) -> Path:
    """Return the path of a folder's BM25 index, which may not exist yet.

    Args:
        folder: Folder of the documents. An index in it is used unless it is out of date and cannot
            be replaced there.
        run_dir: Folder of the run, in which the index is built otherwise.
    """
    beside = folder / INDEX
    if is_index(beside) and (os.access(folder, os.W_OK) or not _needs_building(folder, beside)):
        return beside
    return run_dir / INDEX


def build_missing_index(folder: Path, index_dir: Path) -> None:
    """Build the folder's BM25 index if it is missing or the documents have changed.

    If several processes need the index, one builds it while the others wait.

    Args:
        folder: Folder of the documents.
        index_dir: Folder of the index.

    Raises:
        FileNotFoundError: If there are no documents.
        ValueError: If ``index_dir`` contains another index, which is left unchanged.
        OSError: If the index cannot be written.
    """
    if not _needs_building(folder, index_dir):
        return
    with building_lock(index_dir, wait=True):
        # Another process may have built it in the meantime.
        if not _needs_building(folder, index_dir):
            return
        corpus = corpus_file(folder)
        if is_index(index_dir):
            print(
                f"{index_dir}: building it again, for {corpus} is not what it was built from",
                file=sys.stderr,
            )
        build_index(read_records(corpus, Document), index_dir, corpus)


def open_index(folder: Path, index_dir: Path) -> Retriever:
    """Return a retriever with the folder's BM25 index, built if missing or out of date.

    Args:
        folder: Folder of the documents.
        index_dir: Folder of the index.

    Raises:
        FileNotFoundError: If there are no documents.
        ValueError: If ``index_dir`` contains another index.
        OSError: If an index that has to be built cannot be written.
    """
    build_missing_index(folder, index_dir)
    return BM25Retriever(index_dir, corpus_file(folder))


def _needs_building(folder: Path, index_dir: Path) -> bool:
    """Return whether the folder's index is missing or out of date.

    Raises:
        ValueError: If there is another index, which may have taken hours to build.
    """
    corpus = corpus_file(folder)
    build = building_command(index_dir, "bm25", corpus)
    manifest = load_manifest(index_dir, build)
    if manifest is None:
        return True
    problem = manifest.problem("bm25", corpus)
    if problem is None:
        return False
    stamp = manifest.corpus
    own_files = [folder / name for name in (DOCUMENTS, CORPUS)]
    if manifest.kind != "bm25" or stamp is None:
        is_own = False
    else:
        is_own = stamp.fits(corpus) or any(stamp.names(file, index_dir) for file in own_files)
    if not is_own:
        raise ValueError(f"{index_dir} {problem}; {build}")
    return True
