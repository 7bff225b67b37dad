"""The commands ``prag store status`` and ``merge``, for stores that several processes fill."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from prag_lightning.cli.printable import shown, utc_time

if TYPE_CHECKING:
    from prag_lightning.adapters.store.base import AdapterStore
    from prag_lightning.adapters.store.status import StoreStatus


def store_status(
    store: str, data_folder: Path | None = None, json: bool = False, layout: str | None = None
) -> None:
    """Print how far a store is filled, how fast, and by which writers.

    Args:
        store: Folder of the store, or any fsspec URL of one; others may be writing into it.
        data_folder: Folder of the documents, as --data.folder of `prag fit`, to see what is left.
        json: Print a JSON object instead of lines.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    from prag_lightning.adapters.store.opening import open_store
    from prag_lightning.adapters.store.status import store_status
    from prag_lightning.documents.still_running import still_running

    with (
        still_running(lambda: f"reading the documents of {store}"),
        open_store(store, layout=layout or "packed", mode="read") as opened,
    ):
        status = store_status(opened)
        progress = {} if data_folder is None else _progress(opened, data_folder)
    if json:
        print(dumps({**asdict(status), **progress}))
        return
    _print_lines(status, progress)


def store_merge(stores: list[str], output: str | None = None) -> None:
    """Merge stores of one recipe that were filled apart; the first adapter of a document counts.

    Args:
        stores: Their folders or fsspec URLs; without --output, the others are added to the first.
        output: Folder of a new store; repeat an interrupted merge to go on with it.
    """
    from prag_lightning.adapters.store.merging import merge_stores
    from prag_lightning.adapters.store.opening import open_store
    from prag_lightning.cli.counting import counted

    sources = stores if output is not None else stores[1:]
    if not sources:
        raise ValueError("one store cannot be merged; give others, or --output and a new folder")
    target = stores[0] if output is None else output
    num_added = sum(1 for _ in counted(merge_stores(sources, target), "adapters"))
    with open_store(target, mode="read") as merged:
        print(f"{num_added} adapters were added to {target}, which holds {len(merged)}")


def _progress(store: "AdapterStore", data_folder: Path) -> dict[str, int]:
    """Return how many of a folder's documents are in a store, and how many are left."""
    from prag_lightning.documents.folder import DOCUMENTS
    from prag_lightning.documents.stored import StoredDocuments
    from prag_lightning.encoding.plan import is_of_other_text

    documents = StoredDocuments(data_folder / DOCUMENTS)
    digests = store.text_digests(list(documents))
    outdated = sum(is_of_other_text(digest, documents[name]) for name, digest in digests.items())
    return {
        "num_planned": len(documents),
        "num_outdated": outdated,
        "num_left": len(documents) - len(digests) + outdated,
    }


def _print_lines(status: "StoreStatus", progress: dict[str, int]) -> None:
    lines = {"documents": f"{status.num_documents:,}"}
    if progress:
        lines["left"] = f"{progress['num_left']:,} of {progress['num_planned']:,}"
        if progress["num_outdated"]:
            lines["left"] += f", {progress['num_outdated']:,} of them encoded from an earlier text"
    lines["last write"] = utc_time(status.last_write)
    if status.documents_per_minute is not None:
        lines["speed"] = f"{status.documents_per_minute:,.1f} documents a minute"
    for writer in status.writers:
        words = [f"{writer.state}, process {writer.pid} on host {writer.host}"]
        if not writer.pid:
            words = ["done, process unknown"]
        if writer.num_documents is not None:
            words.append(f"{writer.num_documents:,} documents")
        if writer.last_write is not None:
            words.append(f"last write {utc_time(writer.last_write)}")
        if writer.num_claimed:
            words.append(f"encoding {writer.num_claimed:,}")
        lines[f"writer {writer.number}"] = ", ".join(words)
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"{name:<{width}}  {shown(text)}".rstrip())
