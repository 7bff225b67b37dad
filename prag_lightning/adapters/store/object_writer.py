"""Adding adapters to an object store, where objects are written whole and once."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.journal import Line, journal_line
from prag_lightning.adapters.store.packed_files import journal_name, shard_header, shard_name
from prag_lightning.adapters.store.packed_index import Covered, keep_newest, write_index
from prag_lightning.adapters.store.packed_shards import WriterFiles, entry_of
from prag_lightning.adapters.store.rows import RowCodec

# Adapters are uploaded once they are this large together, or the last upload is this long ago.
SHARD_BYTES = 2**26
UPLOAD_SECONDS = 30.0


class ObjectWriter(WriterFiles):
    """`WriterFiles` in an object store that can be written to.

    Adapters are gathered in memory and uploaded together, first as a shard and then as its journal.
    With the journal they are in the store; a shard without one is of a process that was killed.

    Args:
        files: The store's files.
        folder: Name of the writer's folder, which no other process ever had.
        codec: Encoding of the adapters.
    """

    def __init__(self, files: StoreFiles, folder: str, codec: RowCodec) -> None:
        super().__init__(files, folder, codec)
        self._shard = 0
        self._lines: list[Line] = []
        self._contents: list[bytes] = []
        self._num_rows = 0
        self._last_upload = time.monotonic()
        # One thread may claim documents, which uploads, while another adds adapters.
        self._turn = threading.RLock()

    def add(self, lines: Sequence[Line], rows: memoryview) -> None:
        """Add adapters or deletions.

        Args:
            lines: Description of each adapter, to which rows are assigned here; without a row, a
                deletion.
            rows: The bytes of the adapters, concatenated.

        Raises:
            OSError: If they cannot be uploaded now; the next upload tries again.
        """
        with self._turn:
            for line in lines:
                placed = line if line.row is None else line._replace(row=self._num_rows)
                self._num_rows += line.row is not None
                self._lines.append(placed)
                assert line.document_id is not None
                keep_newest(self.recent, line.document_id, entry_of(self._shard, placed))
            self._contents.append(bytes(rows))
            is_large = self._num_rows * self.codec.num_bytes >= SHARD_BYTES
            if is_large or time.monotonic() - self._last_upload >= UPLOAD_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Upload what was added."""
        with self._turn:
            if not self._lines:
                return
            journal = b"".join(map(journal_line, self._lines))
            shard = b"".join([shard_header(self.codec, self._num_rows), *self._contents])
            self.files.write(shard_name(self.folder, self._shard), shard)
            self.files.write(journal_name(self.folder, self._shard), journal)
            self.end = Covered(self._shard, self._num_rows, len(journal))
            self._shard += 1
            self._lines, self._contents, self._num_rows = [], [], 0
            self._last_upload = time.monotonic()

    def finish(self) -> None:
        """Upload what was added, and an index of all, so that readers need no journals."""
        self.flush()
        # A single journal is as quickly read.
        if self._shard > 1:
            with TemporaryDirectory(prefix="prag-index-") as folder:
                file = write_index(Path(folder), None, self.recent, self.end)
                self.files.write(f"{self.folder}/{file.name}", file.read_bytes())
