"""The mean of a store's adapters, kept beside them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import mean as mean_module
from prag_lightning.adapters.store.mean import MEAN_FILE
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, damages, names


def opened(folder: Path, layout: str, mode: str = "read") -> AdapterStore:
    return open_store(folder, RECIPE, layout=layout, mode=mode)  # type: ignore[arg-type]


def filled(folder: Path, layout: str, count: int = 5) -> torch.Tensor:
    rows = adapters(count)
    with opened(folder, layout, "write") as store:
        store.put_many(names(count), rows, ["0" * 16] * count)
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mean_is_that_of_all_adapters_after_each_change(tmp_path: Path, layout: str) -> None:
    rows = filled(tmp_path, layout)
    with opened(tmp_path, layout) as store:
        torch.testing.assert_close(store.mean(), rows.double().mean(0).float())
    with opened(tmp_path, layout, "write") as store:
        store.delete(["doc 1"])
        rest = rows[[0, 2, 3, 4]]
        torch.testing.assert_close(store.mean(), rest.mean(0))
        more = adapters(2, seed=1)
        store.put_many(["doc 2", "new"], more, ["1" * 16] * 2)
        torch.testing.assert_close(store.mean(), torch.cat([rows[[0, 3, 4]], more]).mean(0))
    # It is no damage, and no document.
    assert not damages(tmp_path)
    with opened(tmp_path, layout) as store:
        assert sorted(store.ids()) == ["doc 0", "doc 2", "doc 3", "doc 4", "new"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adapters_are_read_once_for_it_and_again_only_where_it_no_longer_holds(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, layout)
    with opened(tmp_path, layout) as store:
        expected = store.mean()
    reads: list[int] = []
    read = AdapterStore.get_many

    def counted(store: AdapterStore, document_ids: Sequence[str]) -> torch.Tensor:
        reads.append(len(document_ids))
        return read(store, document_ids)

    monkeypatch.setattr(AdapterStore, "get_many", counted)
    # So small that each adapter is a part of its own.
    monkeypatch.setattr(mean_module, "_MOST_BYTES", 1)
    file = tmp_path / MEAN_FILE
    kept = file.read_bytes()
    damaged = bytearray(kept)
    damaged[-1] ^= 1
    for content, count in ((kept, 0), (bytes(damaged), 5), (kept[:40], 5), (None, 5), (kept, 0)):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        reads.clear()
        with opened(tmp_path, layout) as store:
            torch.testing.assert_close(store.mean(), expected)
        assert reads == [1] * count
        assert file.read_bytes() == kept


def test_of_many_documents_it_is_the_mean_of_some_that_hardly_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mean_module, "MOST_DOCUMENTS", 4)
    rows = filled(tmp_path, "packed", 8)
    order = sorted(range(8), key=lambda n: hashlib.sha256(f"doc {n}".encode()).digest())
    with opened(tmp_path, "packed", "write") as store:
        torch.testing.assert_close(store.mean(), rows[order[:4]].mean(0))
        kept = os.stat(tmp_path / MEAN_FILE).st_mtime_ns
        store.delete([f"doc {order[-1]}"])
        store.mean()
        # Which was none of the four.
        assert os.stat(tmp_path / MEAN_FILE).st_mtime_ns == kept
        store.delete([f"doc {order[0]}"])
        torch.testing.assert_close(store.mean(), rows[order[1:5]].mean(0))


def test_where_nothing_can_be_written_the_mean_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = filled(tmp_path, "packed")

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(mean_module, "write_whole", refuse)
    with opened(tmp_path, "packed") as store:
        torch.testing.assert_close(store.mean(), rows.mean(0))
    assert not (tmp_path / MEAN_FILE).exists()


def test_an_empty_store_has_no_mean(tmp_path: Path) -> None:
    with (
        opened(tmp_path, "packed", "write") as store,
        pytest.raises(ValueError, match="holds no adapter, so that there is no mean"),
    ):
        store.mean()
