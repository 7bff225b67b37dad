"""Where each adapter lies in packed shards: journal lines, and an SQLite index of them."""

import errno
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prag_lightning.adapters.store.durable import digest_file, needs_room, sync_file, sync_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS adapters (
    id TEXT PRIMARY KEY, shard INTEGER, row INTEGER, text_digest TEXT, checksum TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (
    shard INTEGER, rows INTEGER, num_bytes INTEGER, num_entries INTEGER
);
"""
_SqlRow = tuple[str | int | None, ...]


class Entry(NamedTuple):
    """One adapter of a packed store: its place, and what is known of it."""

    shard: int
    row: int
    text_digest: str
    checksum: str


class Covered(NamedTuple):
    """How far an index knows the journals: up to this row, at this byte, of this shard's."""

    shard: int = 0
    rows: int = 0
    num_bytes: int = 0


def adapter_checksum(document_id: str, text_digest: str, *contents: bytes | memoryview) -> str:
    """Return 32 hexadecimal digits (SHA-256, halved) over an adapter and what names it."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    digest.update(json.dumps([document_id, text_digest]).encode())
    return digest.hexdigest()[:32]


class Line(NamedTuple):
    """One line of a journal; without a document id, its row's adapter was taken out."""

    row: int
    document_id: str | None = None
    text_digest: str = ""
    checksum: str = ""


def journal_line(line: Line) -> bytes:
    """Return a line as its journal holds it, line break included."""
    fields: dict[str, str | int] = {"row": line.row}
    if line.document_id is not None:
        fields |= {"id": line.document_id, "text": line.text_digest, "checksum": line.checksum}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_line(content: bytes) -> Line:
    """Return a line of a journal, given without its line break.

    Raises:
        ValueError: If it is not exactly as `journal_line` writes it.
    """
    try:
        fields = json.loads(content)
        names = fields.get("id"), fields.get("text", ""), fields.get("checksum", "")
        line = Line(fields["row"], *names)
        intact = journal_line(line) == content + b"\n"
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a journal line") from error
    if not intact:
        raise ValueError("not as it was written")
    return line


def is_intact(line: Line, *contents: bytes | memoryview) -> bool:
    """Say whether an adapter is the one that its line speaks of."""
    if line.document_id is None:
        return True
    return adapter_checksum(line.document_id, line.text_digest, *contents) == line.checksum


class Index:
    """A read-only SQLite file of entries by document id. Its name holds the digest of its bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; so does every method.
    """

    def __init__(self, file: Path) -> None:
        # Immutable: no locks, no journal; so it also works on network and read-only disks.
        file.stat()
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.file = file
        # The file may come from anywhere: nothing in it is run, and damage is looked for.
        self._query("PRAGMA trusted_schema = OFF")
        self._query("PRAGMA cell_size_check = ON")
        rows = self._query("SELECT shard, rows, num_bytes, num_entries FROM covered")
        numbers = [number for row in rows for number in row if isinstance(number, int)]
        if len(numbers) != 4:
            raise _damaged(file, "it does not say what it covers")
        self.covered = Covered(*numbers[:3])
        self.num_entries = numbers[3]

    def find(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those documents that it knows."""
        found: dict[str, Entry] = {}
        for start in range(0, len(document_ids), 500):
            chunk = document_ids[start : start + 500]
            marks = ",".join("?" * len(chunk))
            rows = self._query(
                f"SELECT id, shard, row, text_digest, checksum FROM adapters WHERE id IN ({marks})",
                chunk,
            )
            for document_id, shard, row, text_digest, checksum in rows:
                if not (isinstance(shard, int) and isinstance(row, int)):
                    raise _damaged(self.file, f"no place for {document_id!r}")
                found[str(document_id)] = Entry(shard, row, str(text_digest), str(checksum))
        return found

    def ids(self) -> Iterator[str]:
        """Yield all document ids, sorted."""
        try:
            for row in self._connection.execute("SELECT id FROM adapters ORDER BY id"):
                yield str(row[0])
        except sqlite3.DatabaseError as error:
            raise _damaged(self.file, error) from error

    def ids_in(self, shard: int) -> dict[int, str]:
        """Return the document ids of a shard by row."""
        found = self._query("SELECT row, id FROM adapters WHERE shard = ?", (shard,))
        return {row: str(document_id) for row, document_id in found if isinstance(row, int)}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _query(self, sql: str, values: Sequence[str | int] = ()) -> list[_SqlRow]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _damaged(self.file, error) from error


def write_index(
    folder: Path, previous: Index | None, entries: Mapping[str, Entry], covered: Covered
) -> Path:
    """Write the entries of ``previous`` and the new ones as one index; return its file.

    Raises:
        StoreFullError: If there is no room for it.
    """
    temporary = folder / ".index.tmp"
    needed = 200 * len(entries) + (previous.file.stat().st_size if previous else 0)
    with needs_room(temporary, needed):
        temporary.unlink(missing_ok=True)
        if previous:
            shutil.copyfile(previous.file, temporary)
        _insert(temporary, entries, covered)
        sync_file(temporary)
    target = folder / index_name(digest_file(temporary))
    temporary.replace(target)
    sync_folder(folder)
    if previous and previous.file != target:
        previous.file.unlink()
    return target


def index_name(digest: str) -> str:
    """Return the name of an index whose bytes have this SHA-256."""
    return f"index-{digest[:32]}.sqlite"


def _insert(file: Path, entries: Mapping[str, Entry], covered: Covered) -> None:
    connection = sqlite3.connect(file)
    try:
        # The file gets its name when it is whole, so SQLite need not guard it.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT OR REPLACE INTO adapters VALUES (?, ?, ?, ?, ?)",
            ((document_id, *entry) for document_id, entry in sorted(entries.items())),
        )
        connection.execute("DELETE FROM covered")
        connection.execute(
            "INSERT INTO covered SELECT ?, ?, ?, COUNT(*) FROM adapters", tuple(covered)
        )
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        # A full disk is the one thing that can go wrong here, and SQLite has several words for it.
        raise OSError(errno.ENOSPC, str(error), str(file)) from error
    finally:
        connection.close()


def _damaged(file: Path, problem: object) -> ValueError:
    return ValueError(
        f"{file}: this index is damaged ({problem}); `prag store verify STORE --repair true` "
        "makes it anew, and no adapter is lost by that"
    )
