"""The folder of one document in the ``peft`` layout: locating, reading and checking it."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.layout import AdapterLayout
from prag_lightning.adapters.peft_format import CONFIG_FILE, WEIGHTS_FILE, check_sizes
from prag_lightning.adapters.store.journal import Line, is_intact, read_line
from prag_lightning.adapters.store.records import Damage

DOCUMENT_FILE = "document.json"
# Suffix of an old folder until the new one has taken its place.
REPLACED = ".replaced"
# Number of attempts, and pause in seconds, before a folder is reported as damaged.
LOOKS, PAUSE = 3, 0.01
_NAME_DIGITS = 64
# Maximum number of bytes to read from the two files beside the weights.
_SMALL_FILE_LIMIT = 2**20


def folder_of(document_id: str) -> str:
    """Return the folder of a document, from a hash, since ids must not be used as paths."""
    digest = hashlib.sha256(document_id.encode()).hexdigest()
    return f"documents/{digest[:2]}/{digest}"


def document_folders(files: StoreFiles) -> Iterator[str]:
    """Yield the folder of each document once."""
    for part in files.names("documents"):
        names = set(files.names(f"documents/{part}"))
        for name in sorted(names):
            # File managers may add files of their own.
            whole = name.removesuffix(REPLACED)
            if len(whole) == _NAME_DIGITS and (name == whole or whole not in names):
                yield f"documents/{part}/{name}"


def replaced_folders(files: StoreFiles) -> Iterator[str]:
    """Yield the old folders that were being replaced."""
    for part in files.names("documents"):
        for name in files.names(f"documents/{part}"):
            if name.endswith(REPLACED):
                yield f"documents/{part}/{name}"


def read_document(files: StoreFiles, folder: str) -> Line | None:
    """Return a folder's document, and the description of its adapter.

    Args:
        files: The store's files.
        folder: The document's folder.

    Returns:
        The description; None if there is no such folder.

    Raises:
        ValueError: If the folder is damaged.
    """
    name = f"{folder}/{DOCUMENT_FILE}"
    try:
        content = files.read(name, stop=_SMALL_FILE_LIMIT)
    except FileNotFoundError:
        if not files.names(folder):
            return None
        # A running writer may have replaced the folder in the meantime.
        if not files.exists(name):
            raise _damaged(files, folder, f"lacks its {DOCUMENT_FILE}") from None
        content = files.read(name, stop=_SMALL_FILE_LIMIT)
    try:
        document = read_line(content[:-1])
    except ValueError as error:
        raise _damaged(files, name, "cannot be read") from error
    named = document.document_id is not None and document.row is not None
    if (
        not named
        or folder_of(str(document.document_id)) != folder.removesuffix(REPLACED)
        or not content.endswith(b"\n")
    ):
        raise _damaged(files, name, "is not that of its folder")
    return document


def read_weights(files: StoreFiles, folder: str, layout: AdapterLayout, document: Line) -> bytes:
    """Return the contents of a folder's safetensors file after verifying its checksum.

    Args:
        files: The store's files.
        folder: The document's folder.
        layout: Layout of an adapter.
        document: The description that `read_document` returned.

    Raises:
        ValueError: If the folder is damaged or contains a pickle.
    """
    files.refuse_strangers(folder)
    name = f"{folder}/{WEIGHTS_FILE}"
    try:
        check_sizes(files, name, layout)
        weights = files.read(name)
        config = files.read(f"{folder}/{CONFIG_FILE}", stop=_SMALL_FILE_LIMIT)
    except FileNotFoundError as error:
        raise _damaged(files, folder, "lacks a file") from error
    if not is_intact(document, weights, config):
        raise _damaged(
            files, folder, f"the adapter of document {document.document_id!r} is damaged"
        )
    return weights


def read_whole(files: StoreFiles, folder: str) -> dict[str, bytes]:
    """Return a consistent snapshot of a folder's files by name.

    A running writer may be replacing the document. The checksum of the adapter and its description
    shows whether the files belong together.

    Args:
        files: The store's files.
        folder: A document's folder.

    Returns:
        The files; an empty mapping if the document was deleted. Damaged files are returned as is.
    """
    plain = folder.removesuffix(REPLACED)
    found: dict[str, bytes] = {}
    for look in range(LOOKS):
        for name in (plain, plain + REPLACED, plain):
            if not (content := _contents(files, name)):
                continue
            found = content
            if _belong_together(found):
                return found
        if not found:
            break
        time.sleep(PAUSE if look else 0)
    return found


def _contents(files: StoreFiles, folder: str) -> dict[str, bytes]:
    found = {}
    for name in files.names(folder):
        with suppress(FileNotFoundError):
            found[name] = files.read(f"{folder}/{name}")
    return found


def _belong_together(contents: Mapping[str, bytes]) -> bool:
    try:
        line = read_line(contents[DOCUMENT_FILE][:-1])
        return is_intact(line, contents[WEIGHTS_FILE], contents[CONFIG_FILE])
    except (KeyError, ValueError):
        return False


def check_folder(files: StoreFiles, folder: str, layout: AdapterLayout) -> Damage | None:
    """Return the damage in a folder; None if there is none.

    Args:
        files: The store's files.
        folder: A document's folder.
        layout: Layout of an adapter.
    """
    document_id: str | None = None
    try:
        document = read_document(files, folder)
        if document is not None:
            document_id = document.document_id
            read_weights(files, folder, layout, document)
    except ValueError as error:
        return Damage(document_id, folder, str(error))
    return None


def _damaged(files: StoreFiles, name: str, what: str) -> ValueError:
    return ValueError(
        f"{files.path(name)}: {what}; run `prag store verify STORE --repair true`, and encode the "
        "document again"
    )
