"""The command ``prag store export``: copies of a store, and adapters for other engines."""

import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from prag_lightning.adapters.merge import MergeWeights
    from prag_lightning.adapters.store.base import AdapterStore

Format = Literal["peft", "gguf"]
# Number of bytes that take about two seconds to read.
_TAKES_TIME = 2**29


def store_export(
    store: str,
    to: str,
    document_ids: list[str] | None = None,
    separate: bool = False,
    format: Format = "peft",
    merge: Literal["anchored", "sum", "mean"] = "anchored",
    warm_start: str = "random",
    seed: int = 0,
    base: str | None = None,
    layout: str | None = None,
) -> None:
    """Copy a store, or write adapters for other engines: PEFT, vLLM and SGLang, or llama.cpp.

    Args:
        store: Folder of the store, or any fsspec URL (s3://, gs://, hf://) of one.
        to: New or empty folder, or any fsspec URL of one.
        document_ids: Write one adapter, the merged adapters of these documents, instead of a copy
            of the whole store.
        separate: Write an adapter for each of these documents, or for each in the store.
        format: `peft` writes folders for PEFT, vLLM and SGLang; `gguf` writes files for llama.cpp.
        merge: Rule that merges several adapters into one.
        warm_start: The adapters' warm start, as in `prag fit`; `anchored` needs it. With `gguf` and
            `separate` it is also written.
        seed: Seed of a random warm start.
        base: Name of the base model for servers; by default the one in the recipe.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    from prag_lightning.adapters.store.opening import open_store

    with open_store(store, layout=layout or "packed", mode="read") as opened:
        if separate:
            ids = list(opened.ids()) if document_ids is None else document_ids
            start = None if warm_start == "random" else _warm_start(opened, warm_start, seed)
            _export_each(opened, ids, to, format, base, start)
        elif document_ids is not None:
            from prag_lightning.adapters.merge import make_merge_rule

            if not document_ids:
                raise ValueError("no document is named; give ids with --document_ids")
            weights = make_merge_rule(merge).weigh([0.0] * len(document_ids))
            start = _warm_start(opened, warm_start, seed) if weights.warm_start else None
            _export_merged(opened, document_ids, weights, to, format, base, start)
        elif format == "peft":
            from prag_lightning.adapters.store.export import export_store

            say_size("copying", store)
            print(f"{export_store(opened, to)} files of {store} are in {to}")
        else:
            raise ValueError(
                f"--format {format} is for adapters, not for a copy of the store; name documents "
                "with --document_ids, or write each document's adapter with --separate true"
            )


def _export_each(
    store: "AdapterStore",
    document_ids: list[str],
    to: str,
    format: Format,
    base: str | None,
    warm_start: "Tensor | None",
) -> None:
    from prag_lightning.adapters.store.export import export_each
    from prag_lightning.cli.counting import counted
    from prag_lightning.exporting.gguf_adapter import export_gguf_each
    from prag_lightning.exporting.gguf_base import read_gguf_base
    from prag_lightning.language_model.pretrained import public_name

    recipe = store.recipe
    if format == "gguf":
        names = read_gguf_base(recipe, base)
        each, what = export_gguf_each(store, document_ids, to, names, warm_start), "GGUF file"
    else:
        name = base or public_name(recipe.base_model)
        each, what = export_each(store, document_ids, to, base_model=name), "PEFT folder"
    count = sum(1 for _ in counted(each, "adapters"))
    print(f"the adapters of {count} documents are in {to}, each as a {what}")


def _export_merged(
    store: "AdapterStore",
    document_ids: list[str],
    weights: "MergeWeights",
    to: str,
    format: Format,
    base: str | None,
    warm_start: "Tensor | None",
) -> None:
    from prag_lightning.adapters.store.export import export_adapter
    from prag_lightning.exporting.gguf_adapter import GGUF_FILE, export_gguf
    from prag_lightning.exporting.gguf_base import read_gguf_base
    from prag_lightning.exporting.rank_limits import needed_for
    from prag_lightning.language_model.pretrained import public_name

    recipe = store.recipe
    start = None if warm_start is None else (warm_start, weights.warm_start)
    whose = f"the adapters of {len(document_ids)} documents are in"
    if format == "gguf":
        names = read_gguf_base(recipe, base)
        lora = export_gguf(store, document_ids, weights.documents, to, names, start)
        print(f"{whose} {to.rstrip('/')}/{GGUF_FILE}, as one of rank {lora.rank}")
        return
    name = base or public_name(recipe.base_model)
    lora = export_adapter(
        store, document_ids, weights.documents, to, warm_start=start, base_model=name
    )
    print(f"{whose} {to}, as one in PEFT's form of rank {lora.rank}: {needed_for(lora.rank)}")


def say_size(doing: str, store: str) -> None:
    """Announce work on a store that is large enough to take some time."""
    from rich.filesize import decimal

    from prag_lightning.adapters.files import StoreFiles

    size = StoreFiles(store).total_size()
    if size > _TAKES_TIME:
        print(f"{doing} {decimal(size)} of {store}", file=sys.stderr, flush=True)


def _warm_start(store: "AdapterStore", path: str, seed: int) -> "Tensor":
    """Return the warm start of a store's adapters.

    Raises:
        ValueError: If it is not the one that its recipe names.
    """
    from prag_lightning.adapters.store.recipe import digest_tensors
    from prag_lightning.adapters.warm_start import WarmStartSource

    row = WarmStartSource(path, seed).read(store.layout, store.recipe.lora)
    digest = digest_tensors([("warm_start", row)])
    if digest != store.recipe.warm_start:
        raise ValueError(
            f"warm start '{path}' (seed {seed}, digest {digest}) is not what the adapters in "
            f"{store.files.url} started from (digest {store.recipe.warm_start}); give the folder "
            "of that one with --warm_start, or merge with --merge sum"
        )
    return row
