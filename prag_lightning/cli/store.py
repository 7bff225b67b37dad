"""The commands ``prag store``: inspect and check a store, import and export adapters."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prag_lightning.cli.printable import shown, utc_time
from prag_lightning.cli.store_filling import store_merge, store_status

if TYPE_CHECKING:
    from torch import Tensor

    from prag_lightning.adapters.store.base import AdapterStore
    from prag_lightning.adapters.store.published import PublishedAdapter
    from prag_lightning.adapters.store.recipe import Recipe
    from prag_lightning.adapters.store.records import Damage

# Exit status: done, but some documents are damaged.
_SOME_DAMAGED = 3
# Number of bytes that take about two seconds to read.
_TAKES_TIME = 2**29


def run_store(args: Sequence[str]) -> int:
    """Run one of the commands, and return its exit status."""
    from jsonargparse import auto_cli

    from prag_lightning.cli.one_line_parser import OneLineParser

    words = _as_parsed(list(args))
    auto_cli(
        dict[str, Any](STORE_COMMANDS), args=words, prog="prag store", parser_class=OneLineParser
    )
    return 0


def store_stats(store: str, layout: str | None = None) -> None:
    """Print the size of a store, and its recipe.

    Args:
        store: Folder of the store, or any fsspec URL (s3://, gs://, hf://) of one.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    with _opened(store, layout) as opened:
        stats = opened.stats()
    manifest, recipe = stats.manifest, stats.manifest.recipe
    lora = recipe.lora
    lines = {
        "documents": f"{stats.num_documents:,}",
        "bytes": f"{stats.num_bytes:,}",
        "bytes a document": f"{stats.bytes_per_document:,.0f}",
        "numbers an adapter": f"{recipe.layout.num_params:,} in {manifest.dtype}",
        "layout": manifest.layout,
        "base model": f"{recipe.base_model} (digest {recipe.base_digest})",
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha:g}, {', '.join(lora.target_modules)}",
        "warm start": recipe.warm_start,
        "prompt": recipe.prompt_version,
        "imported from": recipe.imported_from,
        **{f"training: {name}": value for name, value in sorted(recipe.training.items())},
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        if value is not None:
            print(f"{name:<{width}}  {shown(str(value))}")


def store_list(store: str, layout: str | None = None) -> None:
    """Print the stored documents: digest of the training data, time, and id.

    Args:
        store: Folder of the store, or any fsspec URL of one.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    with _opened(store, layout) as opened:
        for document in opened.documents():
            print(f"{document.text_digest:<32}  {utc_time(document.stored)}  {shown(document.id)}")


def store_delete(store: Path, document_ids: list[str], layout: str | None = None) -> None:
    """Delete the adapters of documents; `prag store verify --repair true` frees their space.

    Args:
        store: Folder of the store.
        document_ids: Their ids, one per word; after `--` if one begins with a dash.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    from prag_lightning.adapters.store.opening import open_store

    with _opened(str(store), layout) as opened:
        manifest = opened.manifest
    with open_store(
        store, manifest.recipe, layout=layout or manifest.layout, dtype=manifest.dtype, mode="write"
    ) as writing:
        writing.delete(document_ids)
        print(f"{len(set(document_ids))} deleted; {len(writing)} documents are in {store}")


def store_verify(store: str, repair: bool = False, layout: str | None = None) -> None:
    """Read every adapter, account for every byte, and print damaged ones (exit status 3).

    Args:
        store: Folder of the store, or any fsspec URL of one.
        repair: Remove damaged adapters, so that the next `prag fit` encodes them again, and free
            the space of replaced or deleted ones.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    from prag_lightning.adapters.store.opening import repair_store, verify_store

    _say_size("reading", store)
    found = repair_store(store, layout) if repair else verify_store(store, layout)
    for damage in found:
        print(_damage_line(damage))
    damages = [damage for damage in found if not damage.harmless]
    done, to_do = "`--repair true` takes them out", "`--repair true` tidies up"
    if repair:
        done, to_do = "taken out", "tidied up"
    if len(damages) < len(found):
        print(f"{len(found) - len(damages)} harmless; {to_do}")
    if not damages:
        print(f"{store}: nothing is damaged")
        return
    print(f"{len(damages)} damaged; {done}, and `prag fit` encodes the documents again")
    sys.exit(_SOME_DAMAGED)


def store_import(
    published_dir: Path, store: Path, base: str, data_file: Path | None = None
) -> None:
    """Import adapters that the published encoder wrote: offline/.../data_0/passage_0 and so on.

    Args:
        published_dir: The folder that contains data_0, or without data_file one above.
        store: Folder of the store.
        base: Hub name or folder of the base model that they were trained for.
        data_file: The published data file that they were trained on. Documents then get the same
            ids as from converting that file, otherwise data_0/passage_0 and so on.
    """
    from prag_lightning.adapters.store.opening import open_store
    from prag_lightning.adapters.store.published import find_adapters, import_adapters
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.entries import document_of

    adapters = find_adapters(published_dir, data_file, lambda text: document_of("", text).id)
    recipe = _published_recipe(published_dir, adapters[0], base)
    with open_store(store, recipe, mode="write") as opened:
        import_adapters(counted(adapters, "adapters"), opened)
    print(f"{len(adapters)} adapters of {published_dir} are in {store}")


def store_export(
    store: str,
    to: str,
    document_ids: list[str] | None = None,
    separate: bool = False,
    merge: Literal["anchored", "sum", "mean"] = "anchored",
    warm_start: str = "random",
    seed: int = 0,
    base: str | None = None,
    layout: str | None = None,
) -> None:
    """Copy a store, or write adapters as PEFT folders, which vLLM and SGLang can load, too.

    Args:
        store: Folder of the store, or any fsspec URL (s3://, gs://, hf://) of one.
        to: New or empty folder, or any fsspec URL of one.
        document_ids: Write one PEFT folder with the merged adapters of these documents, instead of
            a copy of the whole store.
        separate: Write one PEFT folder for each of these documents, or for each in the store.
        merge: Rule that merges several adapters into one.
        warm_start: The adapters' warm start, as in `prag fit`; `anchored` needs it.
        seed: Seed of a random warm start.
        base: Name of the base model for servers; by default the one in the recipe.
        layout: Class path of the store's layout, if it is not a built-in one.
    """
    from prag_lightning.adapters.merge import make_merge_rule
    from prag_lightning.adapters.store.export import export_adapter, export_each, export_store
    from prag_lightning.cli.counting import counted

    with _opened(store, layout) as opened:
        base = base or _base_for_others(opened.recipe)
        if separate:
            ids = list(opened.ids()) if document_ids is None else document_ids
            folders = export_each(opened, ids, to, base_model=base)
            count = sum(1 for _ in counted(folders, "adapters"))
            print(f"the adapters of {count} documents are in {to}, each as a PEFT folder")
            return
        if document_ids is None:
            _say_size("copying", store)
            print(f"{export_store(opened, to)} files of {store} are in {to}")
            return
        weights = make_merge_rule(merge).weigh([0.0] * len(document_ids))
        start: tuple[Tensor, float] | None = None
        if weights.warm_start:
            start = _warm_start(opened, warm_start, seed), weights.warm_start
        export_adapter(
            opened, document_ids, weights.documents, to, warm_start=start, base_model=base
        )
    print(f"the adapters of {len(document_ids)} documents are in {to}, as one in PEFT's form")


def _as_parsed(args: list[str]) -> list[str]:
    """Return a command's words with its list in one word, and flags as settings."""
    # The number of words before the list.
    before = {"delete": 1, "merge": 0}.get(args[0] if args else "")
    args = [word.replace("--data.folder", "--data_folder") for word in args]
    args = ["--json=true" if word == "--json" else word for word in args]
    if before is None or not {"-h", "--help"}.isdisjoint(args):
        return args
    options: list[str] = []
    words: list[str] = []
    rest = iter(args[1:])
    for word in rest:
        if word == "--":
            words += rest
        elif word.startswith("-"):
            options += [word] if "=" in word else [word, next(rest, "")]
        else:
            words.append(word)
    listed = [json.dumps(words[before:])] if len(words) > before else []
    return [args[0], *options, *words[:before], *listed]


def _opened(store: str, layout: str | None) -> "AdapterStore":
    from prag_lightning.adapters.store.opening import open_store

    return open_store(store, layout=layout or "packed", mode="read")


def _say_size(doing: str, store: str) -> None:
    """Announce work on a store that is large enough to take some time."""
    from rich.filesize import decimal

    from prag_lightning.adapters.files import StoreFiles

    size = StoreFiles(store).total_size()
    if size > _TAKES_TIME:
        print(f"{doing} {decimal(size)} of {store}", file=sys.stderr, flush=True)


def _damage_line(damage: "Damage") -> str:
    document = "" if damage.document_id is None else f"document {damage.document_id!r}: "
    harmless = " (harmless)" if damage.harmless else ""
    return shown(f"{damage.file}: {document}{damage.what}{harmless}")


def _base_for_others(recipe: "Recipe") -> str:
    """Return the base model for other programs: the embedded one as its folder."""
    from prag_lightning.language_model.embedded import BASE_DIR, DEMO

    return str(BASE_DIR) if recipe.base_model == DEMO else recipe.base_model


def _published_recipe(published_dir: Path, adapter: "PublishedAdapter", base: str) -> "Recipe":
    """Return the recipe of published adapters, as far as known."""
    from prag_lightning.adapters.bank import feature_sizes, find_target_modules
    from prag_lightning.adapters.store.published import published_settings, read_lora
    from prag_lightning.adapters.store.recipe import Recipe
    from prag_lightning.language_model.base_model import load_base
    from prag_lightning.language_model.digest import base_digest, weights_digest

    lora = read_lora(adapter)
    model = load_base(base)
    targets = find_target_modules(model, lora.target_modules)
    return Recipe(
        base_model=base,
        base_digest=base_digest(model),
        base_digest_version=2,
        sampled_base_digest=weights_digest(model),
        lora=lora,
        modules=tuple((name, *feature_sizes(module)) for name, module in targets),
        warm_start="unknown",
        training=published_settings(published_dir),
        prompt_version="unknown",
        imported_from="the published encoder",
    )


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


STORE_COMMANDS = {
    "stats": store_stats,
    "list": store_list,
    "status": store_status,
    "verify": store_verify,
    "delete": store_delete,
    "merge": store_merge,
    "export": store_export,
    "import": store_import,
}
