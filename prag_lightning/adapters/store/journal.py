"""Journal lines: which document's adapter each row holds, and which documents were deleted."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from prag_lightning.adapters.files import StoreFiles

_CRC = b',"crc":"'
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_BLOCK_BYTES = 2**20
# Document ids may be long, but a line of an untrusted store must not exhaust the memory.
_LONGEST_LINE = 2**24


class Line(NamedTuple):
    """A journal entry about a row, a document, or both.

    Args:
        row: Row of the adapter; None if the document was deleted.
        document_id: The document; None if a repair removed it.
        text_digest: Digest of the text that the adapter was trained on.
        checksum: Checksum of the adapter and its description; see `adapter_checksum`.
        version: Number of earlier times the document was stored or deleted; the highest counts.
        stored: Time in seconds since 1970; 0 in stores of format version 1.
    """

    row: int | None
    document_id: str | None = None
    text_digest: str = ""
    checksum: str = ""
    version: int = 0
    stored: int = 0


def adapter_checksum(document_id: str, text_digest: str, *contents: bytes | memoryview) -> str:
    """Return a checksum, 32 hexadecimal digits of a SHA-256, of an adapter and its description.

    Args:
        document_id: The document.
        text_digest: Digest of the text that the adapter was trained on.
        contents: The bytes of the adapter.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    digest.update(json.dumps([document_id, text_digest]).encode())
    return digest.hexdigest()[:32]


def is_intact(line: Line, *contents: bytes | memoryview) -> bool:
    """Return whether an adapter is the one that its line describes.

    Args:
        line: The line.
        contents: The bytes of the adapter.
    """
    if line.document_id is None or line.row is None:
        return True
    return adapter_checksum(line.document_id, line.text_digest, *contents) == line.checksum


def journal_line(line: Line) -> bytes:
    """Return a line as it is written to a journal, including the line break.

    It ends with a checksum of itself, so that a corrupted line is never taken for another document.
    """
    fields: dict[str, str | int] = {} if line.row is None else {"row": line.row}
    if line.document_id is not None:
        fields["id"] = line.document_id
        if line.row is not None:
            fields |= {"text": line.text_digest, "checksum": line.checksum}
        if line.version:
            fields["version"] = line.version
        fields["stored"] = line.stored
    body = _dump(fields)
    return body[:-1] + _CRC + f'{zlib.crc32(body):08x}"}}\n'.encode()


def read_line(content: bytes) -> Line:
    """Parse a journal line, given without its line break.

    Raises:
        ValueError: If it is not exactly what `journal_line` writes, or what format version 1 wrote,
            which had no time and no checksum.
    """
    head, mark, crc = content.rpartition(_CRC)
    body = head + b"}"
    if mark and crc != f'{zlib.crc32(body):08x}"}}'.encode():
        raise ValueError("its checksum is wrong")
    try:
        fields = json.loads(body if mark else content)
        line = Line(
            fields.get("row"),
            fields.get("id"),
            fields.get("text", ""),
            fields.get("checksum", ""),
            fields.get("version", 0),
            fields.get("stored", 0),
        )
    except (AttributeError, RecursionError) as error:
        raise ValueError("not a journal line") from error
    if not _is_well_formed(line):
        raise ValueError("not a journal line")
    # Fails for a lone surrogate.
    (line.document_id or "").encode()
    if not (mark or _first_version(line) == content):
        raise ValueError("not as it was written")
    return line


def read_lines(files: StoreFiles, name: str, start: int = 0) -> Iterator[bytes]:
    """Yield the complete lines of a journal; a final one without a line break is left out.

    Args:
        files: The store.
        name: The journal.
        start: Offset of the first line, in bytes.

    Raises:
        FileNotFoundError: If there is no such journal.
    """
    with files.open(name) as file:
        file.seek(start)
        rest = b""
        while (block := file.read(_BLOCK_BYTES)) and len(rest) < _LONGEST_LINE:
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        if len(rest) >= _LONGEST_LINE:
            yield rest


def _first_version(line: Line) -> bytes:
    """Return a line as format version 1 wrote it."""
    fields: dict[str, str | int] = {"row": -1 if line.row is None else line.row}
    if line.document_id is not None:
        fields |= {"id": line.document_id, "text": line.text_digest, "checksum": line.checksum}
    return _dump(fields)


def _dump(fields: dict[str, str | int]) -> bytes:
    return _ENCODER.encode(fields).encode()


def _is_well_formed(line: Line) -> bool:
    """Return whether the fields of a parsed line have the declared types."""
    numbers = (line.version, line.stored, 0 if line.row is None else line.row)
    return (
        all(type(number) is int and 0 <= number < 2**62 for number in numbers)
        and type(line.text_digest) is type(line.checksum) is type(line.document_id or "") is str
        and (line.row is not None or line.document_id is not None)
    )
