"""Merging stores that were filled apart into one."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.manifest import MANIFEST, Manifest, load_manifest
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import recipe_differences
from prag_lightning.documents.naming import first_few

# Documents looked up at once, and bytes of adapters copied at once.
_AT_ONCE, _COPY_BYTES = 10_000, 2**26


def merge_stores(sources: Sequence[str], output: str) -> Iterator[str]:
    """Add the adapters of stores to another one, and yield each document that was added.

    A document that several stores hold is taken from the first of them, beginning with the output.
    An interrupted merge keeps what it has added, and goes on when it is repeated.

    Args:
        sources: Folders or fsspec URLs of the stores to add.
        output: Folder of the store to add them to; one like the first source if it is missing.

    Raises:
        FileNotFoundError: If a source is missing.
        ValueError: If recipes or number formats differ, if adapters of a document were trained on
            different texts, or if a store is given twice; nothing is added then.
        BlockingIOError: If another process writes to one of them.
    """
    _refuse_repetitions([*sources, output])
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(url, mode="read")) for url in sources]
        files = StoreFiles(output)
        form, first = stores[0].manifest, sources[0]
        if files.exists(MANIFEST):
            form, first = load_manifest(files), output
        for number, store in enumerate(stores):
            _refuse_other_recipe(store, first, form)
            _refuse_writers(store)
            _refuse_conflicts(store, stores[:number])
        target = open_store(output, form.recipe, layout=form.layout, dtype=form.dtype, mode="write")
        stack.enter_context(target)
        stack.enter_context(target.alone())
        for store in stores:
            _refuse_conflicts(store, [target])
        for store in stores:
            for document_ids in _batches(store.ids(), _COPY_BYTES // (4 * store.layout.num_params)):
                known = target.text_digests(document_ids)
                new = [document_id for document_id in document_ids if document_id not in known]
                digests = store.text_digests(new)
                target.put_many(new, store.get_many(new), [digests[name] for name in new])
                yield from new


def _batches(document_ids: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(islice(document_ids, max(1, size))):
        yield batch


def _refuse_repetitions(urls: Sequence[str]) -> None:
    seen: set[str] = set()
    for url in urls:
        path = StoreFiles(url).local
        place = str(path.resolve()) if path else url
        if place in seen:
            raise ValueError(f"{url}: is given twice; give different stores")
        seen.add(place)


def _refuse_other_recipe(store: AdapterStore, first: str, form: Manifest) -> None:
    other = f"{first} has"
    differences = recipe_differences(store.recipe, form.recipe, to_write=True, asking=other)
    if store.manifest.dtype != form.dtype:
        differences.append(f"dtype: the store has {store.manifest.dtype}, {other} {form.dtype}")
    if differences:
        raise ValueError(
            f"{store.files.url}: holds adapters of another recipe:\n  "
            + "\n  ".join(differences)
            + "\nonly stores of one recipe can be merged"
        )


def _refuse_writers(store: AdapterStore) -> None:
    # Imported here because locks need POSIX, which reading does not.
    from prag_lightning.adapters.store import lease, lock

    if store.files.local is not None:
        lock.refuse_writers(store.files.local)
        return
    writers = lease.living_writers(store.files)
    lease.refuse_writers(store.files.url, (record for _, record, lives in writers if lives))


def _refuse_conflicts(store: AdapterStore, others: Sequence[AdapterStore]) -> None:
    """Refuse a store with adapters that were trained on other texts than those in others."""
    filled = [other for other in others if next(other.ids(), None) is not None]
    for document_ids in _batches(store.ids(), _AT_ONCE) if filled else ():
        digests = store.text_digests(document_ids)
        for other in filled:
            known = other.text_digests(document_ids)
            bad = [repr(name) for name, digest in known.items() if digests[name] != digest]
            if bad:
                raise ValueError(
                    f"{store.files.url}: its adapters of {first_few(bad)} were "
                    f"trained on other texts than those in {other.files.url}; delete the outdated "
                    "ones with `prag store delete`, and merge again"
                )
