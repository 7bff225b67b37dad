"""Reading the files of a store, on a disk or behind any fsspec URL."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class StoreFiles:
    """A folder to read from; names in it are relative and use ``/``.

    Args:
        path_or_url: A path, or a URL such as ``s3://bucket/store`` or ``memory://store``.
    """

    def __init__(self, path_or_url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(path_or_url)
        self._fs: fsspec.AbstractFileSystem
        if "://" in self.url:
            self._fs, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        else:
            self._fs, self._root = LocalFileSystem(), os.path.abspath(self.url)
        self._root = self._root.rstrip("/")

    @property
    def local(self) -> Path | None:
        """The folder, if it is on this machine's disks."""
        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def path(self, name: str) -> str:
        """Return how a file is named in messages."""
        return f"{self.url.rstrip('/')}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names of what is in a folder; none if it is not there."""
        path = f"{self._root}/{folder}".rstrip("/")
        if not self._fs.isdir(path):
            return []
        return sorted(
            entry.rstrip("/").rpartition("/")[2] for entry in self._fs.ls(path, detail=False)
        )

    def all_names(self) -> list[str]:
        """Return the names of all files, in folders of any depth."""
        return [path[len(self._root) + 1 :] for path in self._fs.find(self._root)]

    def make(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Make the folder, and return its file system and its path there, to write into it."""
        self._fs.makedirs(self._root, exist_ok=True)
        return self._fs, self._root

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it."""
        file: BinaryIO = self._fs.open(f"{self._root}/{name}", "rb")
        return file

    def exists(self, name: str) -> bool:
        """Say whether there is such a file."""
        return bool(self._fs.isfile(f"{self._root}/{name}"))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return int(self._fs.size(f"{self._root}/{name}"))

    def total_size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(int(size) for size in self._fs.du(self._root, total=False).values())

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of a file from ``start`` to ``stop``, fewer where it ends before."""
        data: bytes = self._fs.cat_file(f"{self._root}/{name}", start=start, end=stop)
        return data

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return several parts of files, each of name, start and stop; at once where it can."""
        names, starts, stops = zip(*ranges, strict=True)
        paths = [f"{self._root}/{name}" for name in names]
        parts: list[bytes] = self._fs.cat_ranges(paths, list(starts), list(stops), on_error="raise")
        return parts

    def download(self, name: str, to: Path) -> None:
        """Copy a file to this machine."""
        self._fs.get_file(f"{self._root}/{name}", str(to))

    def refuse_pickles(self, folder: str = "") -> None:
        """Refuse a folder in which a pickle lies.

        Raises:
            ValueError: If there is one; names it.
        """
        for name in self.names(folder):
            if name.endswith(PICKLE_SUFFIXES):
                raise ValueError(
                    f"{self.path(f'{folder}/{name}' if folder else name)}: a pickle can run code "
                    "when it is read, so no store may hold one; delete it"
                )
