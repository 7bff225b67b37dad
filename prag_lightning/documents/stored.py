"""The documents of a file by id, each read from disk on access."""

import os
import weakref
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prag_lightning.documents.records import Document, open_lines, parse_line


class StoredDocuments(Mapping[str, Document]):
    """The documents of a JSON Lines file by id; only ids and offsets are kept in memory.

    All lines are validated when the file is opened; the first of exact duplicates counts. Threads
    and worker processes can read concurrently. If the file is replaced, as by `prag data convert`,
    this object keeps reading the old one.

    Args:
        file: The JSON Lines file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not valid, if there are no documents, or if two different documents
            share an id; the message names the lines.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._path = Path(file)
        # Start of each line, followed by the end of the file.
        self._starts = array("Q", [0])
        self._numbers: dict[str, int] = {}
        with open_lines(self._path, Document) as lines:
            self._keep_open(lines.fileno())
            for number, line in enumerate(lines):
                self._starts.append(self._starts[-1] + len(line))
                if line.strip():
                    self._add(parse_line(line, Document, f"{self._path}:{number + 1}"), number)
        if not self._numbers:
            raise ValueError(f"{self._path}: there is no document in it")

    def _keep_open(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def _add(self, document: Document, number: int) -> None:
        first = self._numbers.setdefault(document.id, number)
        if first != number and self[document.id] != document:
            raise ValueError(
                f"{self._path}: id '{document.id}' stands for two different documents, in lines "
                f"{first + 1} and {number + 1}; keep one of them, or give each its own id"
            )

    def __getitem__(self, document_id: str) -> Document:
        """Read a document."""
        number = self._numbers[document_id]
        start, end = self._starts[number], self._starts[number + 1]
        # `pread` uses no file position, which threads would share.
        line = os.pread(self._descriptor, end - start, start)
        return parse_line(line, Document, f"{self._path}:{number + 1}")

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the order of the file."""
        return iter(self._numbers)

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._numbers)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open file, which cannot be pickled for a worker process."""
        return {name: value for name, value in vars(self).items() if name != "_descriptor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again."""
        vars(self).update(state)
        with open_lines(self._path, Document) as lines:
            self._keep_open(lines.fileno())
