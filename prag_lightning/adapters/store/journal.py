"""The lines of a journal: which document's adapter a row holds, and which documents are gone."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from prag_lightning.adapters.files import StoreFiles

_CRC = b',"crc":"'
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_BLOCK_BYTES = 2**20
# A document's id may be long, but a stranger's line must not take all memory.
_LONGEST_LINE = 2**24


class Line(NamedTuple):
    """What a journal says of one row, of one document, or of both.

    Args:
        row: The row of the adapter; None where the document was deleted.
        document_id: Whose adapter it is; None where a repair took it out.
        text_digest: Digest of what the adapter was trained on.
        checksum: Over the adapter and what names it; see `adapter_checksum`.
        version: How often the document was stored anew or deleted before; the highest counts.
        stored: When, in seconds since 1970; 0 in stores of the first version.
    """

    row: int | None
    document_id: str | None = None
    text_digest: str = ""
    checksum: str = ""
    version: int = 0
    stored: int = 0


def adapter_checksum(document_id: str, text_digest: str, *contents: bytes | memoryview) -> str:
    """Return 32 hexadecimal digits (SHA-256, halved) over an adapter and what names it.

    Args:
        document_id: The document.
        text_digest: Digest of what the adapter was trained on.
        contents: The bytes of the adapter.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    digest.update(json.dumps([document_id, text_digest]).encode())
    return digest.hexdigest()[:32]


def is_intact(line: Line, *contents: bytes | memoryview) -> bool:
    """Say whether an adapter is the one that its line speaks of.

    Args:
        line: The line.
        contents: The bytes of the adapter.
    """
    if line.document_id is None or line.row is None:
        return True
    return adapter_checksum(line.document_id, line.text_digest, *contents) == line.checksum


def journal_line(line: Line) -> bytes:
    """Return a line as its journal holds it, line break included.

    It ends in a checksum of itself, so that one wrong letter never makes it another document's.
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
    """Return a line of a journal, given without its line break.

    Raises:
        ValueError: If it is not as `journal_line` writes it, or did in the first version, without
            time and checksum.
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
    # Half of a character is no text.
    (line.document_id or "").encode()
    if not (mark or _first_version(line) == content):
        raise ValueError("not as it was written")
    return line


def read_lines(files: StoreFiles, name: str, start: int = 0) -> Iterator[bytes]:
    """Yield the lines of a journal that end in a line break; the rest was being written.

    Args:
        files: The store.
        name: The journal.
        start: The byte at which the first line begins.

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
    """Return a line as the first version of the store wrote it."""
    fields: dict[str, str | int] = {"row": -1 if line.row is None else line.row}
    if line.document_id is not None:
        fields |= {"id": line.document_id, "text": line.text_digest, "checksum": line.checksum}
    return _dump(fields)


def _dump(fields: dict[str, str | int]) -> bytes:
    return _ENCODER.encode(fields).encode()


def _is_well_formed(line: Line) -> bool:
    """Say whether a line that was read holds what its types say."""
    numbers = (line.version, line.stored, 0 if line.row is None else line.row)
    return (
        all(type(number) is int and 0 <= number < 2**62 for number in numbers)
        and type(line.text_digest) is type(line.checksum) is type(line.document_id or "") is str
        and (line.row is not None or line.document_id is not None)
    )
