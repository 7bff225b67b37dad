"""An SQLite index of packed journals, which maps documents to their adapters."""

import errno
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prag_lightning.adapters.store.durable import digest_file, needs_room, sync_file
from prag_lightning.documents.writing import sync_path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS adapters (
    id TEXT PRIMARY KEY, shard INTEGER, row INTEGER, text_digest TEXT, checksum TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (
    shard INTEGER, rows INTEGER, num_bytes INTEGER, num_entries INTEGER
);
"""
# Columns of `adapters` that indexes of format version 1 lack.
_LATER = ("version", "stored")
_AT_ONCE, _MANY = 500, 10_000
_SqlRow = tuple[Any, ...]


class Entry(NamedTuple):
    """Index entry of a document in a packed store.

    Args:
        shard: Number of the shard whose journal contains the entry.
        row: Row of its adapter in the shard; None if the document was deleted.
        text_digest: Digest of the text that the adapter was trained on.
        checksum: Checksum of the adapter and its description.
        version: Version of the document; the highest one counts.
        stored: Time in seconds since 1970; 0 if unknown.
    """

    shard: int
    row: int | None
    text_digest: str
    checksum: str
    version: int = 0
    stored: int = 0


class Covered(NamedTuple):
    """How far an index covers the journals.

    Args:
        shard: The last journal that is covered, at least in part.
        rows: Number of rows that are covered in it.
        num_bytes: Number of bytes that are covered in it.
    """

    shard: int = 0
    rows: int = 0
    num_bytes: int = 0


class IndexDamagedError(ValueError):
    """An index is not what its name says; it is rebuilt from the journals.

    Args:
        file: The index.
        problem: What is wrong with it.
    """

    def __init__(self, file: Path, problem: object) -> None:
        super().__init__(
            f"{file}: this index is damaged ({problem}), which costs no adapter; "
            "`prag store verify STORE --repair true` makes it anew"
        )


def keep_newest(entries: dict[str, Entry], document_id: str, entry: Entry) -> None:
    """Add an entry, unless the existing one has the same or a higher version.

    Args:
        entries: The entries found so far.
        document_id: The document of the entry.
        entry: The new entry.
    """
    known = entries.get(document_id)
    if known is None or entry.version > known.version:
        entries[document_id] = entry


class Index:
    """A read-only SQLite file of entries by document id, named after the digest of its bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        IndexDamagedError: If it is damaged. Every method raises it too.
    """

    def __init__(self, file: Path) -> None:
        if index_name(digest_file(file)) != file.name:
            raise IndexDamagedError(file, "its bytes are not those that its name says")
        # Opened as immutable, without locks or journal, so that read-only and network disks work.
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        except sqlite3.OperationalError as error:
            # Its writer has replaced it by a newer one.
            raise FileNotFoundError(errno.ENOENT, str(error), str(file)) from error
        self.file = file
        # The file may be untrusted: ignore code in its schema, and check for corruption.
        self._query("PRAGMA trusted_schema = OFF")
        self._query("PRAGMA cell_size_check = ON")
        names = {row[1] for row in self._query("PRAGMA table_info(adapters)")}
        later = ", ".join(f"CAST({name} AS INTEGER)" if name in names else "0" for name in _LATER)
        # Values of unexpected types are cast; the checksum detects a wrong location.
        self._columns = (
            "id, CAST(shard AS INTEGER), CAST(row AS INTEGER), CAST(text_digest AS TEXT), "
            f"CAST(checksum AS TEXT), {later}"
        )
        rows = self._query("SELECT shard, rows, num_bytes, num_entries FROM covered")
        numbers = [number for row in rows for number in row if isinstance(number, int)]
        if len(numbers) != 4:
            raise IndexDamagedError(file, "it does not say what it covers")
        self.covered = Covered(*numbers[:3])
        self.num_documents = numbers[3]

    def find(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those documents that the index contains."""
        found: dict[str, Entry] = {}
        # Sorted as in the file, which halves the time.
        ordered = sorted(document_ids)
        for start in range(0, len(ordered), _AT_ONCE):
            chunk = ordered[start : start + _AT_ONCE]
            marks = ",".join("?" * len(chunk))
            found.update(self._entries(f"WHERE id IN ({marks})", chunk))
        return found

    def after(self, document_id: str | None, limit: int) -> list[tuple[str, Entry]]:
        """Return the next entries, sorted by document id.

        Args:
            document_id: Start after this id; None starts at the beginning.
            limit: Maximum number of entries.
        """
        where, values = ("", []) if document_id is None else ("WHERE id > ? ", [document_id])
        return self._entries(f"{where}ORDER BY id LIMIT {limit}", values)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield all entries, sorted by document id."""
        last: str | None = None
        while chunk := self.after(last, _MANY):
            yield from chunk
            last = chunk[-1][0]

    def in_shard(self, shard: int) -> dict[int, tuple[str, Entry]]:
        """Return a shard's documents and entries by row."""
        found = self._entries("WHERE shard = ? AND row IS NOT NULL", [shard])
        return {entry.row: (name, entry) for name, entry in found if entry.row is not None}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _entries(self, where: str, values: Sequence[str | int]) -> list[tuple[str, Entry]]:
        rows = self._query(f"SELECT {self._columns} FROM adapters {where}", values)
        return [(str(row[0]), Entry._make(row[1:])) for row in rows]

    def _query(self, sql: str, values: Sequence[str | int] = ()) -> list[_SqlRow]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise IndexDamagedError(self.file, error) from error


def write_index(
    folder: Path, previous: Path | None, entries: Mapping[str, Entry], covered: Covered
) -> Path:
    """Write an index and delete the previous one.

    Args:
        folder: Folder of the index.
        previous: The index whose entries are carried over; None to start with ``entries`` only.
        entries: Entries added since.
        covered: How far the new index covers the journals.

    Returns:
        The file of the index.

    Raises:
        IndexDamagedError: If the previous one has been damaged since it was opened.
        StoreFullError: If the disk is full.
    """
    temporary = folder / ".index.tmp"
    needed = 200 * len(entries) + (previous.stat().st_size if previous else 0)
    with needs_room(temporary, needed):
        temporary.unlink(missing_ok=True)
        if previous:
            shutil.copyfile(previous, temporary)
            if index_name(digest_file(temporary)) != previous.name:
                raise IndexDamagedError(previous, "its bytes have changed")
        _insert(temporary, entries.items(), covered)
        sync_file(temporary)
    target = folder / index_name(digest_file(temporary))
    temporary.replace(target)
    sync_path(folder)
    if previous and previous != target:
        previous.unlink(missing_ok=True)
    return target


def index_name(digest: str) -> str:
    """Return the name of an index with this SHA-256."""
    return f"index-{digest[:32]}.sqlite"


def _insert(file: Path, entries: Iterable[tuple[str, Entry]], covered: Covered) -> None:
    connection = sqlite3.connect(file)
    try:
        # The file is renamed once complete, so SQLite's journal and syncs are not needed.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        connection.execute("BEGIN")
        names = {row[1] for row in connection.execute("PRAGMA table_info(adapters)")}
        for name in _LATER:
            if name not in names:
                connection.execute(f"ALTER TABLE adapters ADD {name} INTEGER NOT NULL DEFAULT 0")
        connection.executemany(
            "INSERT INTO adapters VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "shard = excluded.shard, row = excluded.row, text_digest = excluded.text_digest, "
            "checksum = excluded.checksum, version = excluded.version, stored = excluded.stored "
            "WHERE excluded.version > version",
            ((document_id, *entry) for document_id, entry in sorted(entries)),
        )
        connection.execute("DELETE FROM covered")
        connection.execute(
            "INSERT INTO covered SELECT ?, ?, ?, COUNT(row) FROM adapters", tuple(covered)
        )
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        # Only a full disk can fail here, for which SQLite has several messages.
        raise OSError(errno.ENOSPC, str(error), str(file)) from error
    finally:
        connection.close()
