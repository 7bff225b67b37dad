"""Which documents each writer of a store is encoding, so that no two encode the same."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prag_lightning.adapters.store.durable import needs_room, write_at
from prag_lightning.adapters.store.lock_file import is_held, read_holder, turn, writer_lock_file

CLAIMS = "claims.lock"


class Claimed(NamedTuple):
    """The documents that one writer has claimed.

    Args:
        word: Word of the writer's lock, so that a claim ends with its holder.
        document_ids: The documents.
    """

    word: str
    document_ids: list[str]


def claim_documents(
    folder: Path, number: int, word: str, document_ids: Sequence[str], kept: Collection[str]
) -> list[str]:
    """Claim documents for a writer, in place of what it had claimed before.

    A claim ends when its writer is dead or done. Claims save work, and no more: should one be lost,
    a document is encoded twice, and its first adapter counts.

    Args:
        folder: The store.
        number: Number of the writer.
        word: Word of its lock.
        document_ids: The documents that it would encode.
        kept: Documents that it keeps claiming.

    Returns:
        Those of ``document_ids`` that no other living writer has claimed.
    """
    with turn(folder / CLAIMS) as descriptor:
        claims = _read(descriptor)
        claims.pop(number, None)
        wanted = set(document_ids)
        for other, claimed in list(claims.items()):
            if wanted.isdisjoint(claimed.document_ids):
                continue
            if _is_current(folder, other, claimed):
                wanted.difference_update(claimed.document_ids)
            else:
                del claims[other]
        granted = [document_id for document_id in document_ids if document_id in wanted]
        claims[number] = Claimed(word, [*kept, *granted])
        _write(folder / CLAIMS, descriptor, claims)
    return granted


def read_claims(folder: Path) -> dict[int, list[str]]:
    """Return the documents that living writers have claimed, by number of the writer."""
    try:
        with (folder / CLAIMS).open("rb") as file:
            claims = _read(file.fileno())
    except FileNotFoundError:
        return {}
    return {
        number: claimed.document_ids
        for number, claimed in claims.items()
        if _is_current(folder, number, claimed)
    }


def _is_current(folder: Path, number: int, claimed: Claimed) -> bool:
    """Return whether the writer that made a claim is alive."""
    path = writer_lock_file(folder, number)
    return read_holder(path).word == claimed.word and is_held(path)


def _read(descriptor: int) -> dict[int, Claimed]:
    """Return all claims; none from a file that was torn by a killed process."""
    try:
        content = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        return {int(number): Claimed(*claimed) for number, claimed in content.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _write(path: Path, descriptor: int, claims: Mapping[int, Claimed]) -> None:
    data = json.dumps(claims, ensure_ascii=False).encode()
    with needs_room(path, len(data)):
        write_at(descriptor, memoryview(data), 0)
        os.ftruncate(descriptor, len(data))
        # Other hosts see what was flushed.
        os.fsync(descriptor)
