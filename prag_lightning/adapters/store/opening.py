"""Opening a store of finished adapters, with the recipe that they must have."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import (
    MANIFEST,
    AdapterStore,
    Damage,
    StoreStats,
    load_manifest,
)
from prag_lightning.adapters.store.durable import write_whole
from prag_lightning.adapters.store.packed import PackedStore
from prag_lightning.adapters.store.peft_folders import PeftFolderStore
from prag_lightning.adapters.store.recipe import (
    FITTING_FIELDS,
    Manifest,
    Recipe,
    StoreDtype,
    StoreLayout,
    recipe_differences,
)
from prag_lightning.adapters.store.rows import RowCodec

if TYPE_CHECKING:
    from prag_lightning.adapters.store.lock import RunLock

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

# Of a document's journal line and its index entry, at an id of some 20 letters.
_NAMING_BYTES = 260
# Of the usual file systems.
_BLOCK_BYTES = 4096
_STORE_TYPES = {"packed": PackedStore, "peft": PeftFolderStore}


def open_store(
    path_or_url: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    layout: StoreLayout = "packed",
    dtype: StoreDtype = "float32",
    mode: Literal["read", "write"],
    rank: int = 0,
    run_id: str | None = None,
) -> AdapterStore:
    """Open a store; in ``write`` mode, make it if it is not there.

    Args:
        path_or_url: A folder, or, to read, any fsspec URL.
        recipe: What the adapters must have been made with; None takes them as they are.
        layout: ``packed`` (many documents in few files) or ``peft`` (a folder for each, which PEFT
            and servers load as it is). In ``read`` mode the store's own holds.
        dtype: In which form the numbers are stored. In ``read`` mode the store's own holds.
        mode: One run at a time may write; any number may read.
        rank: This process's number within its run. Rank 0 makes the store, the others wait for it.
        run_id: The same for all ranks of a run; by default their SLURM job or ``MASTER_ADDR``.

    Raises:
        FileNotFoundError: If there is no store to read.
        ValueError: If its recipe is another, it is damaged or holds a pickle, or another run is
            writing into it.
    """
    files = StoreFiles(path_or_url)
    if mode == "read":
        manifest = load_manifest(files)
        _check(files, manifest, recipe, None)
        return _STORE_TYPES[manifest.layout](files, manifest)
    folder = _local(files)
    form = Manifest(layout=layout, dtype=dtype, recipe=recipe) if recipe else None
    lock = _lock(folder, rank, run_id)
    try:
        if form and not files.exists(MANIFEST):
            _create(files, folder, form)
        manifest = load_manifest(files)
        _check(files, manifest, recipe, form)
        store = _STORE_TYPES[manifest.layout](files, manifest, lock, rank)
        lock.announce()
    except BaseException:
        lock.release()
        raise
    return store


def forecast_bytes(
    recipe: Recipe, layout: StoreLayout, dtype: StoreDtype, num_documents: int
) -> int:
    """Return the bytes that so many adapters will take on a disk, to a few per cent.

    Compare them with `free_bytes` of the folder.
    """
    adapter = RowCodec(recipe.layout, dtype).num_bytes
    if layout == "packed":
        return num_documents * (adapter + _NAMING_BYTES)
    header = 100 * len(recipe.layout.matrices)
    # Two small files and two folders beside it, a block each; few documents share a folder.
    blocks = -(-(adapter + header) // _BLOCK_BYTES) + 4
    return num_documents * blocks * _BLOCK_BYTES


def verify_store(path_or_url: str | os.PathLike[str]) -> list[Damage]:
    """Return what is wrong in a store, even if it is too damaged to be opened.

    Raises:
        FileNotFoundError: If there is no store.
    """
    files = StoreFiles(path_or_url)
    try:
        layout = load_manifest(files).layout
    except ValueError as error:
        return [Damage(None, MANIFEST, str(error))]
    return list(_STORE_TYPES[layout].check(files))


def repair_store(path_or_url: str | os.PathLike[str]) -> list[Damage]:
    """Take out what is damaged in a store, so that the next run encodes it again.

    Returns:
        What was wrong.

    Raises:
        ValueError: If its manifest is damaged, or a run is writing into it.
    """
    files = StoreFiles(path_or_url)
    manifest = load_manifest(files)
    folder = _local(files)
    lock = _lock(folder, rank=0, run_id="repair")
    try:
        damages = list(_STORE_TYPES[manifest.layout].check(files))
        if damages:
            _STORE_TYPES[manifest.layout].repair(files, folder, manifest)
    finally:
        lock.release()
    return damages


def _local(files: StoreFiles) -> Path:
    if files.local is None:
        raise ValueError(
            f"{files.url}: adapters are written to a local folder only; write there, then copy "
            "the store with `prag store export STORE URL`"
        )
    return files.local


def _lock(folder: Path, rank: int, run_id: str | None) -> "RunLock":
    # Locks need POSIX; reading does not.
    from prag_lightning.adapters.store.lock import RunLock, current_run_id

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return RunLock(folder, rank, current_run_id() if run_id is None else run_id)
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot be written ({error.strerror}); give a folder that can, or "
            "use this one for reading only"
        ) from error


def _create(files: StoreFiles, folder: Path, manifest: Manifest) -> None:
    if manifest.layout == "peft" and manifest.dtype == "int8":
        raise ValueError(
            "PEFT reads no int8: choose dtype float32, bfloat16 or float16, or layout 'packed'"
        )
    strangers = [
        name for name in files.names() if not name.startswith(".") and not name.endswith(".lock")
    ]
    if strangers:
        raise ValueError(
            f"{folder}: holds '{strangers[0]}' but no {MANIFEST}, so it is no store; give an "
            "empty or new folder"
        )
    write_whole(folder / MANIFEST, manifest.to_json())


def _check(
    files: StoreFiles,
    manifest: Manifest,
    recipe: Recipe | None,
    form: Manifest | None,
) -> None:
    """Refuse a store with a pickle in it, or of another recipe or form."""
    files.refuse_pickles()
    differences: list[str] = []
    if recipe:
        # To read them, it is enough that the adapters fit the base model.
        known = FITTING_FIELDS if manifest.recipe.imported_from and not form else None
        differences = recipe_differences(manifest.recipe, recipe, known)
    if form:
        pairs = (("layout", manifest.layout, form.layout), ("dtype", manifest.dtype, form.dtype))
        differences += [
            f"{name}: the store has {ours!r}, this run asks for {theirs!r}"
            for name, ours, theirs in pairs
            if ours != theirs
        ]
    if differences:
        shown = differences[:10]
        if len(differences) > len(shown):
            shown.append(f"and {len(differences) - len(shown)} more")
        raise ValueError(
            f"{files.url}: holds adapters of another recipe:\n  "
            + "\n  ".join(shown)
            + "\nuse another store folder for these settings, or change the settings back"
        )
