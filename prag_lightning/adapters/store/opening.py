"""Opening, verifying and repairing stores of finished adapters."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.durable import needs_room
from prag_lightning.adapters.store.layouts import StoreLayout, find_layout, layout_of
from prag_lightning.adapters.store.manifest import MANIFEST, Manifest, load_manifest
from prag_lightning.adapters.store.recipe import Recipe, StoreDtype, recipe_differences
from prag_lightning.adapters.store.records import Damage, StoreStats
from prag_lightning.documents.writing import write_once

if TYPE_CHECKING:
    from prag_lightning.adapters.store.lease import Lease
    from prag_lightning.adapters.store.lock import StoreLock, WriterLock

__all__ = [
    "AdapterStore",
    "Damage",
    "Recipe",
    "StoreStats",
    "forecast_bytes",
    "open_store",
    "repair_store",
    "verify_store",
]

_MOST_DIFFERENCES = 10
_Lock = TypeVar("_Lock", "WriterLock", "StoreLock")


def open_store(
    path_or_url: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    layout: StoreLayout = "packed",
    dtype: StoreDtype = "float32",
    mode: Literal["read", "write"],
) -> AdapterStore:
    """Open a store; in ``write`` mode, create it if it does not exist.

    Any number of processes, on any number of hosts, may write at once. Each is a writer of its own,
    and `AdapterStore.claim` divides the documents between them.

    Args:
        path_or_url: A folder, or any fsspec URL.
        recipe: Recipe that the adapters must have; None accepts any. In ``read`` mode the training
            settings and the location of the base model are not compared.
        layout: ``packed`` (many documents in few files), ``peft`` (a folder per document, which
            PEFT and servers load directly), or a subclass of `AdapterStore` or its class path. In
            ``read`` mode only a layout of your own needs to be given.
        dtype: Dtype in which adapters are stored; ignored in ``read`` mode.
        mode: Whether to read adapters only, or also to add some.

    Raises:
        FileNotFoundError: In ``read`` mode, if there is no store.
        ValueError: If its recipe differs, it is damaged, or it contains a pickle or a link.
        BlockingIOError: If adapters are being deleted, repaired or merged.
    """
    files = StoreFiles(path_or_url)
    asked = find_layout(layout)
    if mode == "read":
        manifest = load_manifest(files)
        _check(files, manifest, recipe, None)
        return layout_of(manifest, files.url)(files, manifest)
    form = Manifest(layout=asked.name, dtype=dtype, recipe=recipe) if recipe else None
    lock = _lock(files, _writer_lock) if files.local else _lease(files)
    try:
        if form and not files.exists(MANIFEST):
            if dtype not in asked.dtypes:
                raise ValueError(
                    f"the layout '{asked.name}' stores no {dtype}; choose dtype "
                    f"{', '.join(asked.dtypes)}, or layout 'packed'"
                )
            _create(files, form)
        manifest = load_manifest(files)
        _check(files, manifest, recipe, form)
        found = layout_of(manifest, files.url)
        if not (files.local or found.writes_objects):
            raise ValueError(
                f"{files.url}: the layout '{found.name}' is written to a disk only; choose layout "
                "'packed', or write to a disk and copy the store with `prag store export STORE URL`"
            )
        return found(files, manifest, lock, lock.number)
    except BaseException:
        lock.release()
        raise


def forecast_bytes(
    recipe: Recipe, layout: StoreLayout, dtype: StoreDtype, num_documents: int
) -> int:
    """Return the disk space in bytes that adapters will take, to within a few per cent.

    Compare it with `free_bytes` of the folder.

    Args:
        recipe: Recipe of the adapters.
        layout: Store layout, as in `open_store`.
        dtype: Dtype in which they are stored.
        num_documents: Number of adapters.
    """
    return find_layout(layout).forecast(recipe, dtype, num_documents)


def verify_store(
    path_or_url: str | os.PathLike[str], layout: StoreLayout | None = None
) -> list[Damage]:
    """Return all damage in a store, even if the store is too damaged to be opened.

    Args:
        path_or_url: A folder, or any fsspec URL.
        layout: A layout of your own, as in `open_store`.

    Raises:
        FileNotFoundError: If there is no store.
    """
    files = StoreFiles(path_or_url)
    if layout is not None:
        find_layout(layout)
    try:
        files.refuse_strangers()
        manifest = load_manifest(files)
        return list(layout_of(manifest, files.url).check(files, manifest))
    except ValueError as error:
        return [Damage(None, MANIFEST, str(error))]


def repair_store(
    path_or_url: str | os.PathLike[str], layout: StoreLayout | None = None
) -> list[Damage]:
    """Remove damaged entries from a store, so that the next run encodes them again.

    Args:
        path_or_url: A folder on a disk.
        layout: A layout of your own, as in `open_store`.

    Returns:
        The damage that was found.

    Raises:
        ValueError: If its manifest is damaged, or it contains a pickle or a link.
        BlockingIOError: If others are writing to it.
    """
    files = StoreFiles(path_or_url)
    if layout is not None:
        find_layout(layout)
    files.refuse_strangers()
    manifest = load_manifest(files)
    if files.local is None:
        raise ValueError(
            f"{files.url}: a store is repaired on a disk only; copy it there and back with `prag "
            "store export FROM TO`, or merge what is good of it into a new one with `prag store "
            "merge`"
        )
    found = layout_of(manifest, files.url)
    lock = _lock(files, _store_lock)
    try:
        damages = list(found.check(files, manifest))
        if damages:
            found.repair(files, manifest, lock)
    finally:
        lock.release()
    return damages


def _writer_lock(folder: Path) -> "WriterLock":
    # Imported here because locks need POSIX, which reading does not.
    from prag_lightning.adapters.store.lock import WriterLock

    return WriterLock(folder)


def _store_lock(folder: Path) -> "StoreLock":
    from prag_lightning.adapters.store.lock import StoreLock

    return StoreLock(folder)


def _lease(files: StoreFiles) -> "Lease":
    from prag_lightning.adapters.store.lease import Lease

    try:
        return Lease(files)
    except BlockingIOError:
        raise
    except PermissionError as error:
        raise ValueError(
            f"{files.url}: cannot be written ({error}); check the bucket and your rights to it"
        ) from error


def _lock(files: StoreFiles, take: Callable[[Path], _Lock]) -> _Lock:
    folder = files.local
    assert folder is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take(folder)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ValueError(
            f"{folder}: cannot be written ({error.strerror}); give a folder that can, or "
            "use this one for reading only"
        ) from error


def _create(files: StoreFiles, manifest: Manifest) -> None:
    strangers = [name for name in files.names() if not name.endswith(".lock")]
    # Another process may create it at the same moment.
    if strangers and not files.exists(MANIFEST):
        raise ValueError(
            f"{files.url}: holds '{strangers[0]}' but no {MANIFEST}, so it is no store; give an "
            "empty or new folder"
        )
    content = manifest.to_json()
    if files.local is None:
        files.write(MANIFEST, content, new=True)
        return
    with needs_room(files.local / MANIFEST, len(content)):
        write_once(files.local / MANIFEST, content)


def _check(
    files: StoreFiles, manifest: Manifest, recipe: Recipe | None, form: Manifest | None
) -> None:
    """Refuse a store that contains a pickle or a link, or has another recipe or format."""
    files.refuse_strangers()
    differences: list[str] = []
    if recipe:
        differences = recipe_differences(manifest.recipe, recipe, to_write=form is not None)
    if form:
        pairs = (("layout", manifest.layout, form.layout), ("dtype", manifest.dtype, form.dtype))
        differences += [
            f"{name}: the store has {ours!r}, this run asks for {theirs!r}"
            for name, ours, theirs in pairs
            if ours != theirs
        ]
    if differences:
        shown = differences[:_MOST_DIFFERENCES]
        if len(differences) > len(shown):
            shown.append(f"and {len(differences) - len(shown)} more")
        raise ValueError(
            f"{files.url}: holds adapters of another recipe:\n  "
            + "\n  ".join(shown)
            + "\nuse another store folder for these settings, or change the settings back"
        )
