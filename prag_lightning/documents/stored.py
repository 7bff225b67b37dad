"""The records of a file by id, each read from disk on access."""

import os
import weakref
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from pydantic import AliasChoices, Field

from prag_lightning.documents.records import (
    Augmentation,
    Document,
    IdentifiedT,
    Question,
    Record,
    id_of,
    nothing_in,
    open_lines,
    parse_line,
    say_repeated,
    two_of_one_id,
)


class StoredRecords(Mapping[str, IdentifiedT]):
    """The records of a JSON Lines file by id; only ids and offsets are kept in memory.

    Its lines are validated when the file is opened, of those that are not wanted only the ids; the
    first of exact duplicates counts. Threads and worker processes can read concurrently. If the
    file is replaced, as by `prag data convert`, this object keeps reading the old one.

    Args:
        file: The JSON Lines file.
        record_type: Type of the records.
        wanted: Whether the record of an id is kept; by default all are.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not valid, if there are no records, or if two different ones that
            are kept share an id; the message names the lines.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        record_type: type[IdentifiedT],
        wanted: Callable[[str], bool] | None = None,
    ) -> None:
        self._path = Path(file)
        self._type: type[IdentifiedT] = record_type
        # Of each record: its place in the arrays, the start and the length of its line, and the
        # number of its line.
        self._places: dict[str, int] = {}
        self._starts, self._lengths, self._numbers = array("Q"), array("Q"), array("Q")
        # How many lines repeat an earlier one.
        self.num_repeated = 0
        start, is_empty = 0, True
        with open_lines(self._path, record_type) as lines:
            self._keep_open(lines.fileno())
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    is_empty = False
                    where = f"{self._path}:{number}"
                    if wanted is None or wanted(_id_in(line, record_type, where)):
                        record = parse_line(line, record_type, where)
                        self._add(record, start, len(line), number)
                start += len(line)
        if is_empty:
            raise nothing_in(self._path, record_type)

    def _keep_open(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def _add(self, record: IdentifiedT, start: int, length: int, number: int) -> None:
        place = self._places.setdefault(id_of(record), len(self._starts))
        if place == len(self._starts):
            self._starts.append(start)
            self._lengths.append(length)
            self._numbers.append(number)
        elif self[id_of(record)] == record:
            self.num_repeated += 1
        else:
            raise two_of_one_id(self._path, record, self._numbers[place], number)

    def __getitem__(self, record_id: str) -> IdentifiedT:
        """Read a record."""
        place = self._places[record_id]
        # `pread` uses no file position, which threads would share.
        line = os.pread(self._descriptor, self._lengths[place], self._starts[place])
        return parse_line(line, self._type, f"{self._path}:{self._numbers[place]}")

    def __contains__(self, record_id: object) -> bool:
        """Return whether there is a record of an id, without reading it."""
        return record_id in self._places

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the order of the file."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._places)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the open file, which cannot be pickled for a worker process."""
        return {name: value for name, value in vars(self).items() if name != "_descriptor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again."""
        vars(self).update(state)
        with open_lines(self._path, self._type) as lines:
            self._keep_open(lines.fileno())


class _Identity(Record):
    """What tells whether a line is wanted; reading no more takes half the time."""

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "_id"))


class _AugmentationIdentity(Record):
    id: str = Field(min_length=1, validation_alias="document_id")


def _id_in(line: bytes, record_type: type[Record], where: str) -> str:
    """Return the id in a line of records of a type."""
    if record_type is Augmentation:
        return parse_line(line, _AugmentationIdentity, where).id
    return parse_line(line, _Identity, where).id


class StoredDocuments(StoredRecords[Document]):
    """The documents of a file by id, each read from disk on access.

    Args:
        file: The JSON Lines file.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        super().__init__(file, Document)


class StoredQuestions(Sequence[Question]):
    """The questions of a file, each read on access; only ids and offsets are kept in memory.

    Args:
        records: The questions by id.
        ids: Ids of those that belong to the sequence, in order.
    """

    def __init__(self, records: StoredRecords[Question], ids: Sequence[str]) -> None:
        self._records = records
        self._ids = ids

    @classmethod
    def open(cls, file: str | os.PathLike[str]) -> "StoredQuestions":
        """Return all questions of a file, in its order, without exact duplicates.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If a line is not valid, if there are no questions, or if two different ones
                share an id; the message names the lines.
        """
        records = StoredRecords(file, Question)
        say_repeated(file, records.num_repeated)
        return cls(records, list(records))

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> "StoredQuestions": ...
    def __getitem__(self, place: int | slice) -> "Question | StoredQuestions":
        """Read a question, or return some of them in the order of the slice."""
        if isinstance(place, slice):
            return StoredQuestions(self._records, self._ids[place])
        return self._records[self._ids[place]]
