"""The files of a store, on a local disk or at any fsspec URL."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Missing on some systems: there, links and pipes are recognized by their file type alone.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


class StoreFiles:
    """A folder, whose files are named relative to it with ``/``.

    On a local disk, symbolic links below the folder are not followed, since an untrusted store
    could point them at any file. The folder itself may be a link.

    Args:
        path_or_url: A path, or a URL such as ``s3://bucket/store`` or ``memory://store``.
        follow_links: Whether to follow symbolic links, for folders that the user trusts.
    """

    def __init__(self, path_or_url: str | os.PathLike[str], follow_links: bool = False) -> None:
        self.url = os.fspath(path_or_url)
        self._follows = follow_links
        self._fs: fsspec.AbstractFileSystem
        if "://" in self.url:
            with self._one_error():
                self._fs, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)
        else:
            self._fs, self._root = LocalFileSystem(), os.path.abspath(self.url)
        self._root = self._root.rstrip("/")
        # The local path, or None if the folder is not on this machine.
        self.local = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    @property
    def place(self) -> str:
        """The folder's absolute path, or its URL."""
        return self.url if self.local is None else str(self.local)

    def path(self, name: str) -> str:
        """Return the full path of a file for use in messages."""
        return f"{self.url.rstrip('/')}/{name}"

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in a folder without hidden ones; empty if it does not exist."""
        path = self._checked(folder)
        try:
            found = os.listdir(path) if self.local else self._remote_names(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in found if not name.startswith("."))

    def all_names(self, folder: str = "") -> Iterator[str]:
        """Yield the names of all files, recursively, without hidden ones."""
        if not self.local:
            paths = self._ask("find", self._checked(folder))
            names = (path[len(self._root) + 1 :] for path in paths)
            yield from (name for name in names if "/." not in f"/{name}")
            return
        for name in self.names(folder):
            inner = f"{folder}/{name}" if folder else name
            if self.exists(inner):
                yield inner
            else:
                yield from self.all_names(inner)

    def make(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Create the folder, and return its file system and path for writing."""
        self._fs.makedirs(self._root, exist_ok=True)
        return self._fs, self._root

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is a link or not a regular file.
        """
        path = self._checked(name)
        if not self.local:
            file: BinaryIO = self._ask("open", path, "rb")
            return file
        try:
            # Non-blocking, because opening a pipe in an untrusted store would wait forever.
            no_follow = 0 if self._follows else _NO_FOLLOW
            descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | no_follow)
        except OSError as error:
            raise self._link(name) if error.errno == errno.ELOOP else error from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError(f"{self.path(name)}: is no plain file; delete it")
        return open(descriptor, "rb")

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        path = self._checked(name)
        try:
            if not self.local:
                # `isfile` takes any error for a file that is not there.
                return bool(self._ask("info", path)["type"] == "file")
            return stat.S_ISREG(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        path = self._checked(name)
        return os.stat(path).st_size if self.local else int(self._ask("size", path))

    def total_size(self) -> int:
        """Return the total size of all files in bytes, skipping files deleted in the meantime."""
        total = 0
        for name in self.all_names():
            with suppress(FileNotFoundError):
                total += self.size(name)
        return total

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return part of a file; fewer bytes than requested if the file is shorter.

        Args:
            name: The file.
            start: The first byte.
            stop: One past the last byte; None means the end of the file.
        """
        if not self.local:
            data: bytes = self._ask("cat_file", self._checked(name), start=start, end=stop)
            return data
        with self.open(name) as file:
            file.seek(start)
            return file.read() if stop is None else file.read(stop - start)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Read several ``(name, start, stop)`` ranges, in parallel where the file system can."""
        if self.local:
            found: list[bytes] = []
            # A file that several ranges in a row are of is opened once.
            for name, group in groupby(ranges, key=itemgetter(0)):
                with self.open(name) as file:
                    for _, start, stop in group:
                        file.seek(start)
                        found.append(file.read(stop - start))
            return found
        names, starts, stops = zip(*ranges, strict=True)
        paths = [self._checked(name) for name in names]
        parts: list[bytes] = self._ask(
            "cat_ranges", paths, list(starts), list(stops), on_error="raise"
        )
        return parts

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return whole objects by name, without those that are gone; not on a local disk.

        Args:
            names: Their names.
        """
        paths = {self._checked(name): name for name in names}
        found = self._ask("cat", list(paths), on_error="omit") if paths else {}
        return {paths[path]: content for path, content in found.items()}

    def modified(self, name: str) -> datetime:
        """Return when an object was written, by the object store's clock; not on a local disk."""
        time: datetime = self._ask("modified", self._checked(name))
        return time

    def write(self, name: str, content: bytes, *, new: bool = False) -> None:
        """Write a whole object; not on a local disk.

        Args:
            name: Its name.
            content: Its contents.
            new: Leave an object of this name as it is, where the object store can tell.
        """
        with suppress(FileExistsError):
            mode = {"mode": "create"} if new else {}
            self._ask("pipe_file", self._checked(name), content, **mode)

    def download(self, name: str, to: Path) -> None:
        """Copy a file to the local disk.

        Args:
            name: The file.
            to: Where the copy goes.
        """
        self._ask("get_file", self._checked(name), str(to))

    def refuse_strangers(self, folder: str = "") -> None:
        """Refuse a folder that contains a pickle or a symbolic link.

        Raises:
            ValueError: If it contains one; the message names it.
        """
        for name in self.names(folder):
            inner = f"{folder}/{name}" if folder else name
            if name.endswith(PICKLE_SUFFIXES):
                raise ValueError(
                    f"{self.path(inner)}: a pickle can run code when it is read, so no store may "
                    "hold one; delete it"
                )
            self._checked(inner)

    def _remote_names(self, path: str) -> list[str]:
        entries = self._ask("ls", path, detail=False)
        return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Do an operation of fsspec's."""
        with self._one_error():
            return getattr(self._fs, operation)(*args, **kwargs)

    @contextmanager
    def _one_error(self) -> Iterator[None]:
        """Turn the errors that libraries of object stores have of their own into `OSError`."""
        try:
            yield
        except ImportError:
            raise
        except OSError as error:
            if error.filename is not None or isinstance(error, FileNotFoundError):
                raise
            raise type(error)(f"{self.url}: {error}") from error
        except Exception as error:
            raise OSError(f"{self.url}: {error}") from error

    def _checked(self, name: str) -> str:
        """Return the full path of a name, after checking that no local part of it is a link."""
        path: str = self._root
        for part in name.split("/") if name else ():
            path = f"{path}/{part}"
            if self.local and not self._follows and os.path.islink(path):
                raise self._link(path[len(self._root) + 1 :])
        return path

    def _link(self, name: str) -> ValueError:
        return ValueError(
            f"{self.path(name)}: is a symbolic link, which may lead anywhere, so no store may hold "
            "one; delete it, or put a copy of the file in its place"
        )
