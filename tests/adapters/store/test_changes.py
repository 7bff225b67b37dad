"""Adapters that are replaced and deleted, and what is left of them."""

import itertools
import shutil
import time
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import packed_repair, packed_writer
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from tests.adapters.store.store_world import (
    LAYOUTS,
    RECIPE,
    adapters,
    damages,
    fill,
    killed_at,
    names,
    put,
)

OLD, NEW = adapters(5), adapters(5, seed=1)


def num_rows(folder: Path) -> int:
    """Return for how many adapters a packed store takes room."""
    size = 4 * RECIPE.layout.num_params
    return sum((path.stat().st_size - 4096) // size for path in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reopened", [True, False])
def test_an_adapter_of_another_text_takes_the_place_of_the_old_one(
    tmp_path: Path, layout: str, reopened: bool
) -> None:
    store = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    store.put_many(names(5), OLD, ["old"] * 5)
    if reopened:
        store.close()
        store = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    put(store, "doc 2", NEW[2], "new")
    assert store.text_digest("doc 2") == "new"
    assert torch.equal(store.get_many(["doc 2", "doc 3"]), torch.stack([NEW[2], OLD[3]]))
    # With the same text, the first stays.
    put(store, "doc 2", NEW[3], "new")
    store.close()
    for _ in range(2):
        with open_store(tmp_path, RECIPE, mode="read") as store:
            assert len(store) == 5
            assert sorted(store.ids()) == names(5)
            assert torch.equal(store.get_many(["doc 2", "doc 3"]), torch.stack([NEW[2], OLD[3]]))
            assert store.text_digests(names(3)) == {"doc 0": "old", "doc 1": "old", "doc 2": "new"}
        assert damages(tmp_path) == []
        repair_store(tmp_path)
    assert verify_store(tmp_path) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_several_texts_at_once_the_last_is_stored(tmp_path: Path, layout: str) -> None:
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        put(store, "a", OLD[0], "old")
        store.put_many(["a", "b", "a", "b"], NEW[:4], ["1", "1", "2", "1"])
        assert store.text_digests(["a", "b"]) == {"a": "2", "b": "1"}
        assert torch.equal(store.get_many(["a", "b"]), NEW[[2, 1]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_deleted_document_is_gone_and_may_come_again(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, 5, layout)
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        store.delete(["doc 1", "doc 4", "doc 1"])
        assert "doc 1" not in store
        assert sorted(store.ids()) == ["doc 0", "doc 2", "doc 3"]
        with pytest.raises(ValueError, match="holds no adapter of 'doc 4'"):
            store.get_many(["doc 0", "doc 4"])
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        assert len(store) == 3
        assert store.text_digest("doc 4") is None
        put(store, "doc 4", NEW[4], "text of doc 4")
    assert damages(tmp_path) == []
    repair_store(tmp_path)
    with open_store(tmp_path, mode="read") as store:
        assert sorted(store.ids()) == ["doc 0", "doc 2", "doc 3", "doc 4"]
        assert torch.equal(store.get_many(["doc 4", "doc 0"]), torch.stack([NEW[4], OLD[0]]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_deleted_if_one_is_not_there_or_the_store_is_read_only(
    tmp_path: Path, layout: str
) -> None:
    fill(tmp_path, 3, layout)
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        with pytest.raises(ValueError, match="holds no adapter of 'stranger'"):
            store.delete(["doc 0", "stranger"])
        store.delete([])
        assert sorted(store.ids()) == names(3)
    with (
        open_store(tmp_path, mode="read") as store,
        pytest.raises(ValueError, match="open it with mode='write'"),
    ):
        store.delete(["doc 0"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_time_at_which_an_adapter_was_stored_is_kept(tmp_path: Path, layout: str) -> None:
    begin = int(time.time())
    fill(tmp_path, 2, layout)
    repair_store(tmp_path)
    with open_store(tmp_path, mode="read") as store:
        stored = {document.id: document.stored for document in store.documents()}
    assert stored.keys() == {"doc 0", "doc 1"}
    assert all(begin <= when <= time.time() for when in stored.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("no_waiting")
def test_a_death_at_any_write_of_a_change_leaves_the_old_adapter_or_the_new_one(
    tmp_path: Path, layout: str, power_cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_writer, "FOLD_EVERY", 2)
    outcomes = set()
    fill(tmp_path / "before", 3, layout)
    for call in itertools.count(1):
        folder = shutil.copytree(tmp_path / "before", tmp_path / str(call))
        with killed_at(call, power_cut=power_cut) as outcome:
            store = open_store(folder, RECIPE, layout=layout, mode="write")
            put(store, "doc 0", NEW[0], "new")
            store.delete(["doc 1"])
            store.close()
        assert damages(folder) == [], call
        with open_store(folder, mode="read") as store:
            is_new, is_deleted = store.text_digest("doc 0") == "new", "doc 1" not in store
            assert torch.equal(store.get_many(["doc 0"])[0], (NEW if is_new else OLD)[0]), call
            assert torch.equal(store.get_many(["doc 2"])[0], OLD[2]), call
            assert is_new or not is_deleted
            outcomes.add((is_new, is_deleted))
        repair_store(folder)
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            assert (store.text_digest("doc 0") == "new") == is_new, call
            assert ("doc 1" not in store) == is_deleted, call
            put(store, "doc 0", NEW[0], "new")
            if not is_deleted:
                store.delete(["doc 1"])
        with open_store(folder, mode="read") as store:
            assert sorted(store.ids()) == ["doc 0", "doc 2"], call
            assert torch.equal(store.get_many(["doc 0", "doc 2"])[0], NEW[0]), call
        if not outcome.died:
            break
    assert outcomes == {(False, False), (True, False), (True, True)}
    assert call > 8


def write(folder: Path, writers: list[list[str]], seed: int, digest: str) -> torch.Tensor:
    """Let several writers store documents at the same time; return their adapters."""
    rows = adapters(5, seed=seed)
    stores = [open_store(folder, RECIPE, mode="write") for _ in writers]
    for store, ids in zip(stores, writers, strict=True):
        places = [names(5).index(document_id) for document_id in ids]
        store.put_many(ids, rows[places], [digest] * len(ids))
    for store in stores:
        store.close()
    return rows


def test_a_document_that_was_stored_twice_counts_once_and_the_first_wins(tmp_path: Path) -> None:
    # As two runs at once could leave it that claim nothing.
    rows = write(tmp_path, [["doc 0", "doc 1"], ["doc 1", "doc 2"]], 0, "text")
    with open_store(tmp_path, mode="read") as store:
        assert len(store) == 3
        assert list(store.ids()) == names(3)
    (found,) = verify_store(tmp_path)
    assert found.harmless
    assert found.document_id == "doc 1"
    assert found.file == "writer-00001/000000.safetensors"
    assert "stored twice" in found.what
    assert num_rows(tmp_path) == 4
    assert repair_store(tmp_path) == [found]
    assert verify_store(tmp_path) == []
    assert num_rows(tmp_path) == 3
    with open_store(tmp_path, mode="read") as store:
        assert list(store.ids()) == names(3)
        assert torch.equal(store.get_many(names(3)), rows[:3])


def test_a_change_by_another_writer_counts_and_the_old_adapter_does_not_come_back(
    tmp_path: Path,
) -> None:
    old = write(tmp_path, [["doc 0", "doc 1"], ["doc 2", "doc 3"]], 0, "old")
    # Fewer writers: documents belong to others now.
    new = write(tmp_path, [["doc 2"]], 1, "new")
    with open_store(tmp_path, RECIPE, mode="write") as store:
        store.delete(["doc 3"])
    for _ in range(3):
        with open_store(tmp_path, mode="read") as store:
            assert list(store.ids()) == names(3)
            expected = torch.stack([old[0], old[1], new[2]])
            assert torch.equal(store.get_many(names(3)), expected)
        repair_store(tmp_path)
    assert verify_store(tmp_path) == []


@pytest.mark.usefixtures("no_waiting")
def test_a_repair_that_dies_at_any_write_loses_nothing_and_brings_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 3 * 4 * RECIPE.layout.num_params)
    monkeypatch.setattr(packed_repair, "_MOVE_BYTES", 1)
    before = tmp_path / "before"
    old = write(before, [names(3), ["doc 3", "doc 4"]], 0, "old")
    new = write(before, [["doc 1", "doc 3"]], 1, "new")
    with open_store(before, RECIPE, mode="write") as store:
        store.delete(["doc 0"])
    assert num_rows(before) == 7
    for call in itertools.count(1):
        folder = shutil.copytree(before, tmp_path / str(call))
        with killed_at(call) as outcome:
            repair_store(folder)
        with open_store(folder, mode="read") as store:
            assert list(store.ids()) == names(5)[1:], call
            expected = torch.stack([new[1], old[2], new[3], old[4]])
            assert torch.equal(store.get_many(names(5)[1:]), expected), call
        assert damages(folder) == [], call
        repair_store(folder)
        assert verify_store(folder) == [], call
        assert num_rows(folder) == 4
        with open_store(folder, RECIPE, mode="write") as store:
            assert list(store.ids()) == names(5)[1:], call
            put(store, "doc 0", old[0], "old")
            assert torch.equal(store.get_many(names(5)), torch.cat([old[:1], expected])), call
        if not outcome.died:
            break
    assert call > 20


@pytest.mark.usefixtures("no_waiting")
def test_a_repair_that_dies_keeps_what_only_the_index_knows(tmp_path: Path) -> None:
    rows = fill(tmp_path / "before", 5)
    with open_store(tmp_path / "before", RECIPE, mode="write") as store:
        store.delete(["doc 4"])
    (journal,) = tmp_path.glob("before/*/*.jsonl")
    first, *others = journal.read_bytes().splitlines(keepends=True)
    # A line of an adapter, and the one of the deletion.
    journal.write_bytes(b"".join([b"?" + first[1:], *others[:-1], b"?" + others[-1][1:]]))
    assert len(damages(tmp_path / "before")) == 3
    for call in itertools.count(1):
        folder = shutil.copytree(tmp_path / "before", tmp_path / str(call))
        with killed_at(call) as outcome:
            repair_store(folder)
        repair_store(folder)
        assert verify_store(folder) == [], call
        with open_store(folder, mode="read") as store:
            assert list(store.ids()) == names(4), call
            assert torch.equal(store.get_many(names(4)), rows[:4]), call
        if not outcome.died:
            break
    assert call > 8
