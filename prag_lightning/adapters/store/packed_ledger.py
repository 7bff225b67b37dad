"""All lines of all journals of a packed store, in one temporary database."""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from prag_lightning.adapters.store.journal import Line
from prag_lightning.adapters.store.packed_index import Entry

_SCHEMA = """
CREATE TABLE line (
    id TEXT, version INTEGER, writer INTEGER, shard INTEGER, row INTEGER, text_digest TEXT,
    checksum TEXT, stored INTEGER, whole INTEGER, covered INTEGER
);
"""
# Of several lines about a document this one counts; a copy that is whole before one that is not.
_ORDER = "version DESC, whole DESC, writer, shard, row"
_RANKED = f"""
CREATE TABLE ranked AS SELECT *,
    row_number() OVER (PARTITION BY id ORDER BY {_ORDER}) AS place,
    max(version) OVER (PARTITION BY id) AS newest,
    row_number() OVER (PARTITION BY id, writer, covered ORDER BY version DESC, shard, row)
        AS place_in_index,
    count(*) OVER (PARTITION BY id) AS num_lines
FROM line;
CREATE INDEX by_shard ON ranked (writer, shard, row);
CREATE INDEX by_id ON ranked (writer, id);
"""


class DeadRow(NamedTuple):
    """An adapter that does not count, for another of its document does.

    Args:
        writer: Number of the writer.
        shard: Number of the shard.
        document_id: Whose it was.
        is_copy: Whether it is as new as the one that counts: the document was stored twice.
    """

    writer: int
    shard: int
    document_id: str
    is_copy: bool


class Ledger:
    """Every line that can be read, with whether its adapter is whole; in a file if there are many.

    Lines are noted first, then ranked once, and only then asked for.
    """

    def __init__(self) -> None:
        # A temporary database without a name: in memory while it is small.
        self._database = sqlite3.connect("")
        self._database.executescript("PRAGMA journal_mode = OFF;" + _SCHEMA)

    def note(self, writer: int, shard: int, line: Line, *, whole: bool, covered: bool) -> None:
        """Take in one line about a document.

        Args:
            writer: Number of the writer.
            shard: Number of the shard.
            line: The line.
            whole: Whether its adapter is as it was written.
            covered: Whether the writer's index should know it.
        """
        self._database.execute(
            "INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                line.document_id,
                line.version,
                writer,
                shard,
                line.row,
                line.text_digest,
                line.checksum,
                line.stored,
                whole,
                covered,
            ),
        )

    def rank(self) -> None:
        """Find out, after the last line, which one of each document counts."""
        self._database.executescript(_RANKED)

    def index_entries(self, writer: int) -> Iterator[tuple[str, Entry]]:
        """Yield what a writer's index should hold, sorted by id."""
        rows = self._database.execute(
            "SELECT id, shard, row, text_digest, checksum, version, stored FROM ranked "
            "WHERE writer = ? AND covered AND place_in_index = 1 ORDER BY id",
            (writer,),
        )
        for document_id, *fields in rows:
            yield document_id, Entry(*fields)

    def dead_rows(self) -> Iterator[DeadRow]:
        """Yield the whole adapters that do not count, though their lines say nothing of it."""
        rows = self._database.execute(
            "SELECT writer, shard, id, version = newest FROM ranked "
            "WHERE place > 1 AND whole AND row IS NOT NULL ORDER BY writer, shard, row"
        )
        for writer, shard, document_id, is_copy in rows:
            yield DeadRow(writer, shard, document_id, bool(is_copy))

    def kept_lines(self, writer: int, shard: int) -> list[Line]:
        """Return the lines of a shard that count: whole adapters, and deletions of some."""
        rows = self._database.execute(
            "SELECT row, id, text_digest, checksum, version, stored FROM ranked "
            "WHERE writer = ? AND shard = ? AND place = 1 AND whole "
            "AND (row IS NOT NULL OR num_lines > 1) ORDER BY row",
            (writer, shard),
        )
        return [Line(*fields) for fields in rows]

    def close(self) -> None:
        """Delete the database."""
        self._database.close()
