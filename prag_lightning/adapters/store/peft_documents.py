"""The folder of one document in the ``peft`` layout: finding, reading and checking it."""

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
# A folder that is about to be replaced is called so until the new one is in its place.
REPLACED = ".replaced"
# How often, and with which pause in seconds, a folder is looked at before it is called damaged.
LOOKS, PAUSE = 3, 0.01
_NAME_DIGITS = 64
# Bytes that are read of the two files beside the weights.
_SMALL_FILE_LIMIT = 2**20


def folder_of(document_id: str) -> str:
    """Return the folder of a document; its id is data, and never part of a path."""
    digest = hashlib.sha256(document_id.encode()).hexdigest()
    return f"documents/{digest[:2]}/{digest}"


def document_folders(files: StoreFiles) -> Iterator[str]:
    """Yield the folders of all documents, each once."""
    for part in files.names("documents"):
        names = set(files.names(f"documents/{part}"))
        for name in sorted(names):
            # Desktops leave files of their own in folders.
            whole = name.removesuffix(REPLACED)
            if len(whole) == _NAME_DIGITS and (name == whole or whole not in names):
                yield f"documents/{part}/{name}"


def replaced_folders(files: StoreFiles) -> Iterator[str]:
    """Yield the folders that were about to be replaced."""
    for part in files.names("documents"):
        for name in files.names(f"documents/{part}"):
            if name.endswith(REPLACED):
                yield f"documents/{part}/{name}"


def read_document(files: StoreFiles, folder: str) -> Line | None:
    """Return which document a folder is of, and what is known of its adapter.

    Args:
        files: The store.
        folder: The document's folder in it.

    Returns:
        None if there is no such folder.

    Raises:
        ValueError: If the folder is damaged.
    """
    name = f"{folder}/{DOCUMENT_FILE}"
    try:
        content = files.read(name, stop=_SMALL_FILE_LIMIT)
    except FileNotFoundError:
        if not files.names(folder):
            return None
        # What a running writer has put there since is whole.
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
    """Return the safetensors file of a folder, whose checksum is right.

    Args:
        files: The store.
        folder: The document's folder in it.
        layout: The modules of an adapter.
        document: What `read_document` says of the folder.

    Raises:
        ValueError: If the folder is damaged, or holds a pickle.
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
    """Return the files of a folder by name, all of one moment.

    A running writer may be replacing the document: the checksum, which is over the adapter and what
    names it, says whether they belong together.

    Args:
        files: The store.
        folder: A document's folder in it.

    Returns:
        Nothing if the document is no longer there; as they are if they are damaged.
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
    """Return what is wrong with a folder; None if nothing is.

    Args:
        files: The store.
        folder: A document's folder in it.
        layout: The modules of an adapter.
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
