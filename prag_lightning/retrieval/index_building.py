"""Building an index in a draft folder that finally replaces it, one process at a time."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prag_lightning.documents.records import Document
from prag_lightning.documents.still_running import still_running
from prag_lightning.retrieval.index_folder import (
    CorpusStamp,
    IndexKind,
    IndexManifest,
    foreign_files,
    write_manifest,
)
from prag_lightning.retrieval.unique import UniqueDocuments

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class IndexDraft:
    """An index that is being built.

    Args:
        folder: Draft folder for its files.
        index_dir: Final folder of the index.
        documents: The documents to index.
    """

    def __init__(self, folder: Path, index_dir: Path, documents: Iterable[Document]) -> None:
        self.folder = folder
        self.documents = UniqueDocuments(documents)
        self._index_dir = index_dir

    @property
    def num_documents(self) -> int:
        """Number of documents written so far."""
        return self.documents.num_documents

    def disk_error(self, error: Exception) -> OSError:
        """Return an error that says that the disk failed, and where, unlike the library's error."""
        reason = str(error).strip().splitlines()[0]
        free = shutil.disk_usage(self.folder).free
        return OSError(
            f"{self._index_dir}: the index cannot be written, perhaps because the disk is full "
            f"({free:,} bytes are free; {reason}); make room and start the same command again"
        )


@contextmanager
def index_draft(
    documents: Iterable[Document],
    index_dir: Path,
    kind: IndexKind,
    corpus_file: str | os.PathLike[str] | None,
    model: str | None = None,
) -> Iterator[IndexDraft]:
    """Yield a draft, which replaces ``index_dir`` when the block ends without an error.

    A build that is killed leaves either the old index, the new one, or none.

    Args:
        documents: The documents to index.
        index_dir: Folder of the index.
        kind: The kind of index.
        corpus_file: The file that contains the documents.
        model: The embedding model.

    Raises:
        ValueError: If ``index_dir`` contains something other than an index.
        OSError: If the index cannot be written, or another process is building it.
    """
    # If the folder is a link, replace its target.
    index_dir = index_dir.resolve()
    corpus = CorpusStamp.of(Path(corpus_file), index_dir) if corpus_file else None
    with building_lock(index_dir, wait=False):
        _require_replaceable(index_dir)
        folder = index_dir.with_name(f".{index_dir.name}.draft")
        draft = IndexDraft(folder, index_dir, documents)
        _remove(draft.folder)
        draft.folder.mkdir()
        try:
            with still_running(
                lambda: f"building {index_dir}: {draft.num_documents:,} documents so far"
            ):
                yield draft
            write_manifest(draft.folder, kind, draft.num_documents, corpus, model)
        except BaseException:
            _remove(draft.folder)
            raise
        _put_in_place(draft.folder, index_dir)


@contextmanager
def building_lock(index_dir: Path, wait: bool) -> Iterator[None]:
    """Hold the lock for building an index; it is reentrant within the process.

    Args:
        index_dir: Folder of the index; the lock is a hidden file next to it.
        wait: Whether to wait for another process that holds the lock.

    Raises:
        BlockingIOError: If another process holds the lock, and ``wait`` is false.
        PermissionError: If the folder that contains the index is not writable.
    """
    index_dir = index_dir.resolve()
    lock = FileLock(index_dir.with_name(f".{index_dir.name}.lock"), is_singleton=True)
    try:
        index_dir.parent.mkdir(parents=True, exist_ok=True)
        with still_running(lambda: f"waiting for another process to build {index_dir}"):
            lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(
            f"{index_dir}: another process is building this index; start the same command again "
            "when it is done"
        ) from None
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        raise PermissionError(
            f"{index_dir}: an index cannot be written here ({os.strerror(error.errno)}); "
            "choose a folder that you may write into"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _require_replaceable(index_dir: Path) -> None:
    if not index_dir.exists():
        return
    foreign = foreign_files(index_dir) if index_dir.is_dir() else [index_dir.name]
    if foreign:
        raise ValueError(
            f"{index_dir} holds '{foreign[0]}', which is not of an index and would be lost; "
            "choose another folder for the index"
        )


def _put_in_place(draft: Path, index_dir: Path) -> None:
    for file in draft.iterdir():
        # tantivy makes some files readable for the current user only.
        shutil.copymode(IndexManifest.file_in(draft), file)
    former = index_dir.with_name(f".{index_dir.name}.former")
    _remove(former)
    if index_dir.exists():
        index_dir.rename(former)
    draft.rename(index_dir)
    _remove(former)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
