"""All journal lines of a packed store in one temporary database, for comparison."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prag_lightning.adapters.store.journal import Line
from prag_lightning.adapters.store.packed_index import Entry

_SCHEMA = """
CREATE TABLE line (
    number INTEGER PRIMARY KEY, id TEXT, writer INTEGER, whole INTEGER, covered INTEGER,
    shard INTEGER, row INTEGER, text_digest TEXT, checksum TEXT, version INTEGER, stored INTEGER
);
"""


class FoundLine(NamedTuple):
    """A readable journal line about a document.

    Args:
        line: The line.
        whole: Whether its adapter is intact; always True for a deletion.
        covered: Whether the writer's index should contain it.
    """

    line: Line
    whole: bool
    covered: bool


class Note(NamedTuple):
    """A line in the ledger.

    Args:
        number: Its position in the order of writers, shards and lines.
        writer: Number of the writer.
        whole: Whether its adapter is intact.
        covered: Whether the writer's index should contain it.
        entry: Contents of the line.
    """

    number: int
    writer: int
    whole: bool
    covered: bool
    entry: Entry


class Ledger:
    """All readable journal lines, on disk if there are many.

    Lines are first added, then compared with each other, and superseded ones are struck out.
    """

    def __init__(self) -> None:
        # An unnamed temporary database, which stays in memory while it is small.
        self._database = sqlite3.connect("")
        self._database.executescript("PRAGMA journal_mode = OFF;" + _SCHEMA)
        self._struck_out: set[int] = set()
        self._restored: dict[tuple[int, int], list[Line]] = {}

    def note(self, writer: int, shard: int, lines: Iterable[FoundLine]) -> None:
        """Add the lines of a shard.

        Args:
            writer: Number of the writer; writers and shards must be added in order.
            shard: Number of the shard.
            lines: Lines found in its journal.
        """
        self._database.executemany(
            "INSERT INTO line VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (line.document_id, writer, whole, covered, shard, line.row, *line[2:])
                for line, whole, covered in lines
            ),
        )

    def restore(self, writer: int, document_id: str, entry: Entry) -> Note:
        """Add a deletion that is recorded only in an index.

        Args:
            writer: Number of the writer.
            document_id: The deleted document.
            entry: The index entry.
        """
        line = Line(None, document_id, version=entry.version, stored=entry.stored)
        self._restored.setdefault((writer, entry.shard), []).append(line)
        return Note(-len(self._restored), writer, True, True, entry)

    def sorted_notes(self) -> Iterator[tuple[str, Note]]:
        """Yield all lines with their document ids, sorted by id."""
        for number, name, writer, whole, covered, *entry in self._database.execute(
            "SELECT * FROM line ORDER BY id, number"
        ):
            yield name, Note(number, writer, whole, covered, Entry._make(entry))

    def strike_out(self, note: Note) -> None:
        """Mark a line as superseded."""
        self._struck_out.add(note.number)

    def kept_lines(self, writer: int, shard: int) -> list[Line]:
        """Return the lines of a shard that count and whose adapters are intact, by row.

        Args:
            writer: Number of the writer.
            shard: Number of the shard.
        """
        rows = self._database.execute(
            "SELECT number, row, id, text_digest, checksum, version, stored FROM line "
            "WHERE writer = ? AND shard = ? AND whole ORDER BY row",
            (writer, shard),
        )
        kept = [Line(*fields) for number, *fields in rows if number not in self._struck_out]
        return kept + self._restored.get((writer, shard), [])

    def close(self) -> None:
        """Delete the database."""
        self._database.close()
