"""The files of one packed writer: shards of adapters, their journals, and the index."""

import threading
import warnings
from collections.abc import Iterator, Sequence

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.journal import Line, read_line, read_lines
from prag_lightning.adapters.store.packed_files import (
    HEADER_BYTES,
    index_names,
    journal_name,
    open_index,
    rows_in_header,
    shard_name,
    shard_numbers,
    writer_number,
)
from prag_lightning.adapters.store.packed_index import (
    Covered,
    Entry,
    Index,
    IndexDamagedError,
    keep_newest,
)
from prag_lightning.adapters.store.rows import RowCodec

_ATTEMPTS = 3
# Number of index entries to fetch at once when iterating over all of them.
_AT_ONCE = 10_000
# Entries kept in memory before a newer index of their writer is opened.
_MOST_RECENT = 200_000


class WriterFiles:
    """The documents stored by one writer, and where their adapters are.

    Each line of ``000000.jsonl`` names the document of one row of ``000000.safetensors``; an
    adapter is in the store once its line is complete. The index maps ids to most of the lines. It
    can be rebuilt from the journals, which contain everything.

    Args:
        files: The store's files.
        folder: Name of the writer's folder.
        codec: Encoding of the adapters.
        indexed: Whether to use the index, if there is one, and read only newer lines from the
            journals.

    Attributes:
        lost: Descriptions of lines that are missing or unreadable and not in the index.
    """

    def __init__(
        self, files: StoreFiles, folder: str, codec: RowCodec, indexed: bool = True
    ) -> None:
        self.files = files
        self.folder = folder
        self.number = writer_number(folder)
        self.codec = codec
        # One thread may write while another looks up documents.
        self._swapping = threading.Lock()
        files.refuse_strangers(folder)
        self.index = self._open_index() if indexed else None
        self.shards = self._shard_numbers()
        self._read_journals()

    def find(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those documents that this writer stored."""
        with self._swapping:
            found = self.index.find(document_ids) if self.index else {}
            for document_id in document_ids:
                if document_id in self.recent:
                    keep_newest(found, document_id, self.recent[document_id])
        return found

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield the entries of all documents, sorted by id."""
        last: str | None = None
        while True:
            with self._swapping:
                chunk = dict(self.index.after(last, _AT_ONCE)) if self.index else {}
                stop = max(chunk) if len(chunk) == _AT_ONCE else None
                for document_id, entry in self.recent.items():
                    if (last is None or document_id > last) and not (stop and document_id > stop):
                        keep_newest(chunk, document_id, entry)
            yield from sorted(chunk.items())
            if stop is None:
                return
            last = stop

    def refresh(self) -> None:
        """Read what its writer has added since."""
        shards = self._shard_numbers()
        with self._swapping:
            self.shards = shards
            if not self.lost and len(self.recent) < _MOST_RECENT:
                # In an object store, a journal does not grow.
                first = self.end.shard + (self.files.local is None and self.end.num_bytes > 0)
                for shard in range(first, max(shards, default=-1) + 1):
                    self._read_shard(shard)
            if self.lost or len(self.recent) >= _MOST_RECENT:
                # It may have been seen while its writer was writing, or cut off a torn line.
                if self.index:
                    self.index.close()
                self.index = self._open_index()
                self._read_journals()

    def close(self) -> None:
        """Close the index."""
        if self.index:
            self.index.close()

    def _shard_numbers(self) -> list[int]:
        names = self.files.names(self.folder)
        return sorted(shard_numbers(names, ".jsonl") | shard_numbers(names, ".safetensors"))

    def _open_index(self) -> Index | None:
        """Open the index that covers most; a killed process may have left an old one."""
        for attempt in range(_ATTEMPTS):
            found: list[Index] = []
            try:
                for name in index_names(self.files, self.folder):
                    try:
                        found.append(open_index(self.files, self.folder, name))
                    except IndexDamagedError as error:
                        warnings.warn(f"{error}; the journals are read meanwhile", stacklevel=2)
            except FileNotFoundError:
                for index in found:
                    index.close()
                # Its writer has replaced it by a newer one.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            best = max(found, key=lambda index: index.covered, default=None)
            for index in found:
                if index is not best:
                    index.close()
            return best
        return None

    def _read_journals(self) -> None:
        """Read the journal lines that the index does not cover."""
        self.recent: dict[str, Entry] = {}
        self.lost: list[str] = []
        self.end = self.index.covered if self.index else Covered()
        for shard in range(self.end.shard, max(self.shards, default=-1) + 1):
            self._read_shard(shard)

    def _read_shard(self, shard: int) -> None:
        """Read the lines of a shard that the index does not cover, and record losses."""
        known = self.end if shard == self.end.shard else Covered(shard)
        journal = self.files.path(journal_name(self.folder, shard))
        # Read before the journal, because a running writer adds a row before its journal line.
        sealed_rows, held_rows = self._rows(shard_name(self.folder, shard))
        contents = self._new_lines(shard, known.num_bytes)
        is_last = shard == self.shards[-1]
        if contents is None and is_last and self.files.local is None:
            # Its journal is still to be uploaded, or was not by a process that was killed.
            return
        # An empty last shard without a journal has only just been started.
        if contents is None and (held_rows > known.rows or not is_last):
            self.lost.append(f"{journal}: is missing")
        elif contents is not None and self._has_lost_shard(shard, known.num_bytes):
            self.lost.append(f"{self.files.path(shard_name(self.folder, shard))}: is missing")
        lines = [(content, _line_or_none(content)) for content in contents or ()]
        rows = max((line.row + 1 for _, line in lines if line and line.row is not None), default=0)
        rows = max(rows, known.rows)
        for _, line in lines:
            if line is None:
                self.lost.append(f"{journal}: a line behind byte {known.num_bytes} cannot be read")
            elif line.document_id is not None:
                keep_newest(self.recent, line.document_id, entry_of(shard, line))
        if rows < sealed_rows:
            self.lost.append(f"{journal}: holds lines of {rows} adapters of {sealed_rows}")
        num_bytes = known.num_bytes + sum(len(content) + 1 for content, _ in lines)
        self.end = Covered(shard, rows, num_bytes)

    def _has_lost_shard(self, shard: int, num_known_bytes: int) -> bool:
        """Return whether a shard is missing that has adapters outside the index."""
        if self.files.exists(shard_name(self.folder, shard)):
            return False
        size = self.files.size(journal_name(self.folder, shard))
        return num_known_bytes == 0 or size > num_known_bytes

    def _new_lines(self, shard: int, start: int) -> list[bytes] | None:
        """Return the lines of a journal from a byte offset on; None if it is missing."""
        try:
            return list(read_lines(self.files, journal_name(self.folder, shard), start))
        except FileNotFoundError:
            return None

    def _rows(self, name: str) -> tuple[int, int]:
        """Return the number of rows in a shard's header and in its file; 0 if it is missing."""
        for _ in range(_ATTEMPTS):
            try:
                header = self.files.read(name, stop=HEADER_BYTES)
                held = max(0, (self.files.size(name) - HEADER_BYTES) // self.codec.num_bytes)
            except FileNotFoundError:
                return 0, 0
            said = rows_in_header(self.codec, header)
            # Otherwise the header is damaged, or being written.
            if said is not None:
                return said, held
        # Without a valid header, all bytes must be taken for adapters.
        return held, held


def entry_of(shard: int, line: Line) -> Entry:
    """Return the index entry for a journal line.

    Args:
        shard: Shard of the journal.
        line: A line about a document.
    """
    return Entry(shard, line.row, line.text_digest, line.checksum, line.version, line.stored)


def _line_or_none(content: bytes) -> Line | None:
    """Parse a journal line; return None if it is unreadable."""
    try:
        return read_line(content)
    except ValueError:
        return None
