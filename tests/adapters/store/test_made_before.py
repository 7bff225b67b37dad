"""Stores that the first version made, 4ccae4e, and that are kept beside this file."""

import shutil
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, names, put

ROWS = adapters(4)


@pytest.fixture(params=LAYOUTS)
def store_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "made_before" / request.param, tmp_path / "store")
    return tmp_path / "store"


def layout_of(store_dir: Path) -> str:
    with open_store(store_dir, mode="read") as store:
        return store.manifest.layout


def test_a_store_made_before_is_read_and_verified(store_dir: Path) -> None:
    with open_store(store_dir, RECIPE, mode="read") as store:
        assert torch.equal(store.get_many(names(3)), ROWS[:3])
        assert sorted(store.ids()) == names(3)
        assert len(store) == 3
        assert "doc 3" not in store
        assert [document.stored for document in store.documents()] == [0, 0, 0]
    assert verify_store(store_dir) == []


@pytest.mark.parametrize("indexed", [True, False])
def test_a_store_made_before_is_added_to_changed_and_repaired(
    store_dir: Path, indexed: bool
) -> None:
    if not indexed:
        for index in store_dir.glob("*/index-*"):
            index.unlink()
    with open_store(store_dir, RECIPE, layout=layout_of(store_dir), mode="write") as store:
        put(store, "doc 3", ROWS[3], "text of doc 3")
        put(store, "doc 0", ROWS[3], "another text")
        store.delete(["doc 1"])
    expected = {"doc 0": ROWS[3], "doc 2": ROWS[2], "doc 3": ROWS[3]}
    for _ in range(2):
        with open_store(store_dir, mode="read") as store:
            assert sorted(store.ids()) == sorted(expected)
            assert len(store) == 3
            assert torch.equal(store.get_many(list(expected)), torch.stack(list(expected.values())))
        assert all(damage.harmless for damage in repair_store(store_dir))
    assert verify_store(store_dir) == []


def test_one_wrong_letter_in_a_line_of_the_first_version_is_found_at_the_latest_by_reading(
    tmp_path: Path,
) -> None:
    shutil.copytree(Path(__file__).parent / "made_before" / "packed", tmp_path / "store")
    for index in tmp_path.glob("store/*/index-*"):
        index.unlink()
    (journal,) = tmp_path.glob("store/*/*.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"doc 1"', b'"dpc 1"'))
    with (
        open_store(tmp_path / "store", mode="read") as store,
        pytest.raises(ValueError, match="'dpc 1' is damaged"),
    ):
        store.get_many(["dpc 1"])
    assert [damage.document_id for damage in verify_store(tmp_path / "store")] == ["dpc 1"]
