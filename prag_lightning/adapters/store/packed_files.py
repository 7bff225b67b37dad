"""The files of a packed writer: their names, shard headers, and opening an index."""

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.packed_index import Index
from prag_lightning.adapters.store.rows import RowCodec

HEADER_BYTES = 4096
_WRITER = re.compile(r"writer-\d{5,}")


def shard_header(codec: RowCodec, num_rows: int) -> bytes:
    """Return the first `HEADER_BYTES` of a shard; ``num_rows`` rows make it a safetensors file.

    The header is padded with spaces, as safetensors allows, so that its length never changes.

    Args:
        codec: Encoding of the adapters.
        num_rows: Number of rows after the header.
    """
    tensor = {
        "dtype": codec.safetensors_dtype,
        "shape": [num_rows, codec.safetensors_width],
        "data_offsets": [0, num_rows * codec.num_bytes],
    }
    text = json.dumps({"adapters": tensor}).encode().ljust(HEADER_BYTES - 8)
    return len(text).to_bytes(8, "little") + text


def rows_in_header(codec: RowCodec, header: bytes) -> int | None:
    """Return the number of rows given in a shard's header; None if it is not a valid header.

    Args:
        codec: Encoding of the adapters.
        header: The first `HEADER_BYTES` of the shard.
    """
    try:
        num_rows = json.loads(header[8:])["adapters"]["shape"][0]
        intact = shard_header(codec, num_rows) == header
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return num_rows if intact else None


def writer_folders(files: StoreFiles) -> list[str]:
    """Return the names of the writers' folders in a store."""
    return [name for name in files.names() if _WRITER.fullmatch(name)]


def writer_folder(number: int) -> str:
    """Return the name of a writer's folder."""
    return f"writer-{number:05d}"


def writer_number(folder: str) -> int:
    """Return the number of the writer whose folder has this name."""
    return int(folder.removeprefix("writer-"))


def shard_numbers(names: Iterable[str], suffix: str) -> set[int]:
    """Return the numbers of the shards among file names, ignoring other files.

    Args:
        names: Names of the files in a writer's folder.
        suffix: ``.safetensors`` for the shards, ``.jsonl`` for their journals.
    """
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return {int(stem) for stem in stems if len(stem) == 6 and stem.isdecimal()}


def shard_name(folder: str, shard: int) -> str:
    """Return the path of a shard within the store.

    Args:
        folder: Name of the writer's folder.
        shard: Number of the shard.
    """
    return f"{folder}/{shard:06d}.safetensors"


def journal_name(folder: str, shard: int) -> str:
    """Return the path of a shard's journal within the store.

    Args:
        folder: Name of the writer's folder.
        shard: Number of the shard.
    """
    return f"{folder}/{shard:06d}.jsonl"


def index_names(files: StoreFiles, folder: str) -> list[str]:
    """Return the names of the indexes in a writer's folder; usually one, or none at first.

    Args:
        files: The store's files.
        folder: Name of the writer's folder.
    """
    names = files.names(folder)
    return [name for name in names if name.startswith("index-") and name.endswith(".sqlite")]


def open_index(files: StoreFiles, folder: str, name: str) -> Index:
    """Open an index; for a remote store, a local copy of it.

    Args:
        files: The store's files.
        folder: Name of the writer's folder.
        name: Name of the index.

    Raises:
        FileNotFoundError: If its writer has replaced it by a newer one.
        IndexDamagedError: If it is damaged.
    """
    if files.local:
        return Index(files.local / folder / name)
    with tempfile.TemporaryDirectory(prefix="prag-index-") as copies:
        files.download(f"{folder}/{name}", Path(copies) / name)
        # The copy is deleted right away; the open file stays readable.
        return Index(Path(copies) / name)
