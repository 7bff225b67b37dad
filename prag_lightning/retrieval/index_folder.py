"""A folder with an index in it: there whole or not at all, and aware of the corpus it came from."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

IndexKind = Literal["bm25", "dense"]

_MANIFEST = "prag_index.json"
# Raised whenever an index of before would give other results.
_VERSION = 1


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class CorpusStamp(_Manifest):
    """By what a corpus file is known again."""

    file: str
    num_bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, file: Path) -> "CorpusStamp":
        """Return the stamp of a file.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        status = _status(file)
        return cls(
            file=str(file),
            num_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            sha256=_sha256(file),
        )

    def fits(self, file: Path) -> bool:
        """Return whether a file is that corpus; it is read only if its time has changed."""
        status = _status(file)
        if status.st_size != self.num_bytes:
            return False
        return status.st_mtime_ns == self.mtime_ns or _sha256(file) == self.sha256


class IndexManifest(_Manifest):
    """What an index was made of; the last file that is written into its folder."""

    kind: IndexKind
    version: int = _VERSION
    num_documents: int
    corpus: CorpusStamp | None = None
    model: str | None = None

    def write(self, index_dir: Path) -> None:
        """Write the manifest into the index's folder, down to the disk."""
        with (index_dir / _MANIFEST).open("w", encoding="utf-8") as out:
            out.write(self.model_dump_json(indent=1) + "\n")
            out.flush()
            os.fsync(out.fileno())


def is_index(folder: Path) -> bool:
    """Return whether a folder holds a whole index."""
    return (folder / _MANIFEST).is_file()


@contextmanager
def index_under_construction(index_dir: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of ``index_dir`` when the block ends well.

    Killed at any moment, it leaves either what was there before, or the new index, or nothing.

    Raises:
        ValueError: If ``index_dir`` holds something else than an index.
    """
    if index_dir.exists() and not _is_replaceable(index_dir):
        raise ValueError(
            f"{index_dir} is not an index and not empty; choose another folder for the index"
        )
    draft = index_dir.with_name(f".{index_dir.name}.draft")
    former = index_dir.with_name(f".{index_dir.name}.former")
    _remove(draft)
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException:
        _remove(draft)
        raise
    for file in draft.iterdir():
        # tantivy writes some files for its own user only.
        shutil.copymode(draft / _MANIFEST, file)
    _remove(former)
    if index_dir.exists():
        index_dir.rename(former)
    draft.rename(index_dir)
    _remove(former)


def read_manifest(
    index_dir: Path, kind: IndexKind, corpus_file: Path | None = None
) -> IndexManifest:
    """Return the manifest of an index that can be searched.

    Args:
        index_dir: The index's folder.
        kind: What kind of index it must be.
        corpus_file: If given, the index must have been made from this very file.

    Raises:
        FileNotFoundError: If there is no index; names the command that builds it.
        ValueError: If the index is of another kind or version, or older than its corpus.
    """
    corpus = str(corpus_file) if corpus_file else "CORPUS"
    if kind == "dense":
        corpus += " MODEL"
    build = f"build it: prag index {kind} {corpus} --index_dir {index_dir}"
    if not is_index(index_dir):
        raise FileNotFoundError(f"{index_dir}: there is no {kind} index; {build}")
    try:
        text = (index_dir / _MANIFEST).read_text(encoding="utf-8")
        manifest = IndexManifest.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{index_dir / _MANIFEST} cannot be read; {build} again") from error
    if (manifest.kind, manifest.version) != (kind, _VERSION):
        raise ValueError(
            f"{index_dir} is a {manifest.kind} index of version {manifest.version}, "
            f"not a {kind} index of version {_VERSION}; {build}"
        )
    if corpus_file and not (manifest.corpus and manifest.corpus.fits(corpus_file)):
        raise ValueError(f"{index_dir} was not built from {corpus_file} as it is now; {build}")
    return manifest


def _is_replaceable(index_dir: Path) -> bool:
    if not index_dir.is_dir():
        return False
    return is_index(index_dir) or not any(index_dir.iterdir())


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _status(file: Path) -> os.stat_result:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such corpus file")
    return file.stat()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
