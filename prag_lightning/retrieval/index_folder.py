"""The folder of an index, and the manifest that describes what the index was built from."""

import hashlib
import os
import shlex
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prag_lightning.documents.still_running import still_running
from prag_lightning.documents.writing import write_whole

IndexKind = Literal["bm25", "dense"]

_MANIFEST = "prag_index.json"
# Increased when an older index would give other results; version 2 of BM25 handles all scripts.
_VERSIONS: dict[IndexKind, int] = {"bm25": 2, "dense": 1}
# Some file systems store modification times in steps of two seconds.
_CLOCK_STEP_NS = 2_000_000_000


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class CorpusStamp(_Manifest):
    """Identifies the contents of a corpus file.

    Attributes:
        file: Its path relative to the index's folder.
        num_bytes: Its size.
        mtime_ns: Its modification time; None if the file was modified just before the stamp was
            made, since a later change might then have the same time.
        sha256: Digest of its contents.
    """

    file: str
    num_bytes: int
    mtime_ns: int | None
    sha256: str

    @classmethod
    def of(cls, file: Path, index_dir: Path) -> "CorpusStamp":
        """Return the stamp of a file.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        status = _status(file)
        is_settled = time.time_ns() - status.st_mtime_ns > _CLOCK_STEP_NS
        return cls(
            file=os.path.relpath(file.resolve(), index_dir.resolve()),
            num_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns if is_settled else None,
            sha256=_sha256(file),
        )

    def fits(self, file: Path) -> bool:
        """Return whether a file has the stamped contents; it is read only if its time changed."""
        status = _status(file)
        if status.st_size != self.num_bytes:
            return False
        return status.st_mtime_ns == self.mtime_ns or _sha256(file) == self.sha256

    def names(self, file: Path, index_dir: Path) -> bool:
        """Return whether a file has the path of the corpus, whatever its current contents."""
        return (index_dir.resolve() / self.file).resolve() == file.resolve()


class IndexManifest(_Manifest):
    """Describes what an index was built from; written to its folder last."""

    kind: IndexKind
    version: int
    num_documents: int
    corpus: CorpusStamp | None = None
    model: str | None = None
    # Digests by file name; empty for indexes built before digests were recorded.
    files: dict[str, str] = {}

    @staticmethod
    def file_in(index_dir: Path) -> Path:
        """Return the path of an index's manifest."""
        return index_dir / _MANIFEST

    def problem(self, kind: IndexKind, corpus_file: Path | None) -> str | None:
        """Return why the index cannot be used.

        Args:
            kind: The required kind of index.
            corpus_file: The corpus whose current contents must be indexed; None for any corpus.

        Returns:
            The reason, or None if it can be used.
        """
        if (self.kind, self.version) != (kind, _VERSIONS[kind]):
            return (
                f"is a {self.kind} index of version {self.version}, "
                f"not a {kind} index of version {_VERSIONS[kind]}"
            )
        if corpus_file and not (self.corpus and self.corpus.fits(corpus_file)):
            return f"was not built from {corpus_file} as it is now"
        return None


def write_manifest(
    index_dir: Path,
    kind: IndexKind,
    num_documents: int,
    corpus: CorpusStamp | None,
    model: str | None,
) -> None:
    """Write the manifest of an index whose files are complete, and flush it to disk.

    Args:
        index_dir: Folder of the index.
        kind: The kind of index.
        num_documents: Number of documents in it.
        corpus: Stamp of the corpus file.
        model: The embedding model.
    """
    manifest = IndexManifest(
        kind=kind,
        version=_VERSIONS[kind],
        num_documents=num_documents,
        corpus=corpus,
        model=model,
        files={file.name: _sha256(file) for file in _files(index_dir)},
    )
    write_whole(IndexManifest.file_in(index_dir), manifest.model_dump_json(indent=1) + "\n")


def is_index(folder: Path) -> bool:
    """Return whether a folder contains a complete index."""
    return IndexManifest.file_in(folder).is_file()


def foreign_files(index_dir: Path) -> list[str]:
    """Return the names of files in a folder that are not part of our index.

    Raises:
        ValueError: If there is an index with an unreadable manifest.
    """
    manifest = load_manifest(index_dir, "delete the folder, or build the index in another one")
    known = manifest.files if manifest else {}
    if manifest and not known:
        # Built before files were listed in the manifest.
        return []
    return [file.name for file in _files(index_dir) if file.name not in known]


def read_manifest(
    index_dir: Path, kind: IndexKind, corpus_file: Path | None = None
) -> IndexManifest:
    """Return the manifest of an index after verifying the checksums of its files.

    A corrupted file could give wrong results or crash the process.

    Args:
        index_dir: Folder of the index.
        kind: The required kind of index.
        corpus_file: If given, the index must have been built from this file.

    Raises:
        FileNotFoundError: If there is no index; the message names the command that builds it.
        ValueError: If the index is damaged, older than its corpus, or of another kind or version.
    """
    build = building_command(index_dir, kind, corpus_file)
    manifest = load_manifest(index_dir, build)
    if manifest is None:
        raise FileNotFoundError(f"{index_dir}: there is no {kind} index; {build}")
    if problem := manifest.problem(kind, corpus_file):
        raise ValueError(f"{index_dir} {problem}; {build}")
    with still_running(lambda: f"checking {index_dir}"):
        for name, digest in manifest.files.items():
            if not (index_dir / name).is_file() or _sha256(index_dir / name) != digest:
                raise ValueError(f"{index_dir} is damaged: {name} is not what was built; {build}")
    return manifest


def load_manifest(index_dir: Path, build: str) -> IndexManifest | None:
    """Return the manifest of any kind of index in a folder; None if there is no index.

    Args:
        index_dir: Folder of the index.
        build: What to do if the manifest is damaged, for the error message.

    Raises:
        ValueError: If it cannot be read.
    """
    file = IndexManifest.file_in(index_dir)
    try:
        return IndexManifest.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise ValueError(f"{file} cannot be read; {build}") from error


def building_command(index_dir: Path, kind: IndexKind, corpus_file: Path | None = None) -> str:
    """Return the command that builds a suitable index.

    Args:
        index_dir: Folder of the index.
        kind: The kind of index.
        corpus_file: The corpus; None if unknown.
    """
    corpus = [str(corpus_file or "CORPUS"), *(["MODEL"] if kind == "dense" else [])]
    words = ["prag", "index", kind, *corpus, "--index_dir", str(index_dir)]
    return f"build it: {shlex.join(words)}"


def _status(file: Path) -> os.stat_result:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such corpus file")
    return file.stat()


def _files(index_dir: Path) -> list[Path]:
    """Return the files in a folder except the manifest and hidden ones, such as locks."""
    return sorted(
        file
        for file in index_dir.iterdir()
        if not file.name.startswith(".") and file.name != _MANIFEST
    )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
