"""The packed files of one writer: shards of adapters, their journals, and the index."""

import json
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.packed_index import Covered, Entry, Index, read_line
from prag_lightning.adapters.store.rows import RowCodec

HEADER_BYTES = 4096
_ATTEMPTS = 3


def shard_header(codec: RowCodec, num_rows: int) -> bytes:
    """Return the first `HEADER_BYTES` of a shard: with ``num_rows`` after it, a safetensors file.

    The header is padded with spaces, as safetensors allows, so that rows can be added behind it.
    """
    tensor = {
        "dtype": codec.safetensors_dtype,
        "shape": [num_rows, codec.safetensors_width],
        "data_offsets": [0, num_rows * codec.num_bytes],
    }
    text = json.dumps({"adapters": tensor}).encode().ljust(HEADER_BYTES - 8)
    return len(text).to_bytes(8, "little") + text


def rows_in_header(codec: RowCodec, header: bytes) -> int | None:
    """Return how many rows a shard's header speaks of; None if it is not one of ours."""
    try:
        num_rows = json.loads(header[8:])["adapters"]["shape"][0]
        intact = shard_header(codec, num_rows) == header
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return num_rows if intact else None


def whole_lines(content: bytes) -> list[bytes]:
    """Return the lines of a journal that end in a line break; the rest was being written."""
    return content.split(b"\n")[:-1]


def writer_folders(files: StoreFiles) -> list[str]:
    """Return the names of the writers' folders in a store."""
    return [name for name in files.names() if name.startswith("writer-")]


def shard_numbers(names: Iterable[str], suffix: str) -> set[int]:
    """Return the numbers of the shards among file names; files of others are passed over."""
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return {int(stem) for stem in stems if stem.isdecimal()}


def shard_name(folder: str, shard: int) -> str:
    """Return the name of a shard in the store."""
    return f"{folder}/{shard:06d}.safetensors"


def journal_name(folder: str, shard: int) -> str:
    """Return the name of a shard's journal in the store."""
    return f"{folder}/{shard:06d}.jsonl"


def index_names(files: StoreFiles, folder: str) -> list[str]:
    """Return the names of the indexes in a writer's folder: one, or none yet."""
    names = files.names(folder)
    return [name for name in names if name.startswith("index-") and name.endswith(".sqlite")]


def open_index(files: StoreFiles, folder: str) -> Index | None:
    """Open the index of a writer, or a copy of it where the store is not on this machine."""
    for attempt in range(_ATTEMPTS):
        # Two of them: a process died before it took the old one away. Either is right.
        name = next(iter(index_names(files, folder)), None)
        if name is None:
            return None
        try:
            if files.local:
                return Index(files.local / folder / name)
            with tempfile.TemporaryDirectory(prefix="prag-index-") as copies:
                files.download(f"{folder}/{name}", Path(copies) / name)
                # It stays open, and readable, after its name is gone.
                return Index(Path(copies) / name)
        except FileNotFoundError:
            # Its writer has put a newer one in its place.
            if attempt == _ATTEMPTS - 1:
                raise
    return None


class WriterFiles:
    """What one writer wrote, as it is now: which documents, and where their adapters lie.

    Each line of ``000000.jsonl`` names the document of one row of ``000000.safetensors``; an
    adapter is in the store from the moment its line is whole. The index knows most lines by id.

    Args:
        files: The store.
        folder: Name of the writer's folder in it.
    """

    def __init__(self, files: StoreFiles, folder: str) -> None:
        self.files = files
        self.folder = folder
        # One thread may write while another asks what there is.
        self._swapping = threading.Lock()
        files.refuse_pickles(folder)
        self.index = open_index(files, folder)
        names = files.names(folder)
        self.shards = sorted(shard_numbers(names, ".jsonl"))
        self.recent: dict[str, Entry] = {}
        self.end = self.index.covered if self.index else Covered()
        for shard in self.shards:
            if shard >= self.end.shard:
                self._read_journal(shard)

    def find(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of those documents that are here."""
        with self._swapping:
            found = self.index.find(document_ids) if self.index else {}
            found.update({i: self.recent[i] for i in document_ids if i in self.recent})
        return found

    def ids(self) -> Iterator[str]:
        """Yield the ids of all documents here."""
        if self.index:
            yield from self.index.ids()
        yield from self.recent

    @property
    def num_documents(self) -> int:
        """How many documents are here."""
        return len(self.recent) + (self.index.num_entries if self.index else 0)

    def close(self) -> None:
        """Close the index."""
        if self.index:
            self.index.close()

    def _read_journal(self, shard: int) -> None:
        """Take in the lines after `end`. Those that cannot be read are `verify`'s business."""
        known = self.end if shard == self.end.shard else Covered(shard)
        journal = self.files.read(journal_name(self.folder, shard), start=known.num_bytes)
        lines = whole_lines(journal)
        for content in lines:
            try:
                line = read_line(content)
            except ValueError:
                continue
            if line.document_id is not None:
                entry = Entry(shard, line.row, line.text_digest, line.checksum)
                self.recent[line.document_id] = entry
        num_bytes = known.num_bytes + sum(len(line) + 1 for line in lines)
        self.end = Covered(shard, known.rows + len(lines), num_bytes)
