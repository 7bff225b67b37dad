"""Looking at a store, and copying it, while a run writes into it."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store import lock_file, packed_writer, peft_folders
from prag_lightning.adapters.store.export import export_store
from prag_lightning.adapters.store.opening import open_store, verify_store
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, damages, names

NUM_LOOKS = 15
ROWS = adapters(40)


@contextmanager
def writing(folder: Path, layout: str) -> Iterator[None]:
    """Store, replace and delete documents in the block, over and over."""
    open_store(folder, RECIPE, layout=layout, mode="write").close()
    done = threading.Event()
    problems: list[BaseException] = []

    def write() -> None:
        try:
            for turn in itertools.count():
                with open_store(folder, RECIPE, layout=layout, mode="write") as store:
                    for start in range(0, 40, 8):
                        ids = names(40)[start : start + 8]
                        store.put_many(ids, ROWS[start : start + 8], [f"text {turn}"] * 8)
                    store.delete(names(4))
                if done.is_set():
                    return
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert problems == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("no_waiting")
def test_commands_that_look_at_a_store_see_whole_adapters_while_a_run_writes(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 10 * 4 * RECIPE.layout.num_params)
    monkeypatch.setattr(packed_writer, "FOLD_EVERY", 5)
    with writing(tmp_path / "store", layout):
        for _ in range(NUM_LOOKS):
            assert damages(tmp_path / "store") == []
            with open_store(tmp_path / "store", mode="read") as store:
                assert store.stats().num_bytes > 0
                ids = [document.id for document in store.documents()]
                assert set(ids) <= set(names(40))
                if "doc 30" in store:
                    assert torch.equal(store.get_many(["doc 30"])[0], ROWS[30])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("no_waiting")
def test_a_copy_that_is_made_while_a_run_writes_is_whole(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 10 * 4 * RECIPE.layout.num_params)
    monkeypatch.setattr(packed_writer, "FOLD_EVERY", 5)
    copy = tmp_path / "copy"
    with writing(tmp_path / "store", layout):
        for _ in range(NUM_LOOKS // 2):
            with open_store(tmp_path / "store", mode="read") as store:
                export_store(store, copy)
            assert damages(copy) == []
            with open_store(copy, mode="read") as store:
                ids = list(store.ids())
                places = [names(40).index(document_id) for document_id in ids]
                assert torch.equal(store.get_many(ids), ROWS[places])
            shutil.rmtree(copy)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_document_that_is_being_replaced_is_at_no_moment_absent(
    tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "store"
    with open_store(folder, RECIPE, layout=layout, mode="write") as store:
        store.put_many(names(1), ROWS[:1], ["text"])
    done = threading.Event()

    def replace() -> None:
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            for turn in range(40):
                store.put_many(names(1), ROWS[turn : turn + 1], [f"text {turn}"])
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set():
        with open_store(folder, mode="read") as store:
            (row,) = store.get_many(names(1))
            assert (row == ROWS).all(dim=1).any()
    thread.join()


def test_a_copy_holds_one_adapter_of_a_document_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "store", RECIPE, layout="peft", mode="write") as store:
        store.put_many(names(3), ROWS[:3], ["text"] * 3)
    open_file, turns = StoreFiles.open, iter(range(1, 4))

    def open_and_replace(files: StoreFiles, name: str) -> BinaryIO:
        file = open_file(files, name)
        # The first files of a document are the old ones, and those after them the new ones.
        if name.endswith("adapter_model.safetensors") and (turn := next(turns, None)):
            monkeypatch.setattr(StoreFiles, "open", open_file)
            with open_store(tmp_path / "store", RECIPE, layout="peft", mode="write") as writer:
                writer.put_many(names(3), ROWS[10 * turn : 10 * turn + 3], [f"text {turn}"] * 3)
            monkeypatch.setattr(StoreFiles, "open", open_and_replace)
        return file

    monkeypatch.setattr(StoreFiles, "open", open_and_replace)
    with open_store(tmp_path / "store", mode="read") as store:
        export_store(store, tmp_path / "copy")
    monkeypatch.undo()
    assert verify_store(tmp_path / "copy") == []
    with open_store(tmp_path / "copy", mode="read") as store:
        assert len(store) == 3
        for number, row in enumerate(store.get_many(names(3))):
            assert any(torch.equal(row, ROWS[turn * 10 + number]) for turn in range(4))


def test_a_document_that_is_deleted_while_a_store_is_copied_is_not_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "store", RECIPE, layout="peft", mode="write") as store:
        store.put_many(names(3), ROWS[:3], ["text"] * 3)
    with open_store(tmp_path / "store", mode="read") as store:
        plan = store.copy_plan()
        first = [next(plan) for _ in range(3)]
        with open_store(tmp_path / "store", RECIPE, layout="peft", mode="write") as writer:
            writer.delete(names(3))
        monkeypatch.setattr(store, "copy_plan", lambda: iter([*first, *plan]))
        export_store(store, tmp_path / "copy")
    assert verify_store(tmp_path / "copy") == []
    with open_store(tmp_path / "copy", mode="read") as store:
        assert len(store) == 1


@pytest.mark.parametrize(
    ("is_replaced", "moment"),
    # Before the second one looks whether there is a folder, before its turn, and when it moves.
    [(False, "sync_path"), (False, "rename"), (True, "sync_path"), (True, "turn")],
)
def test_of_two_writers_that_store_a_document_at_the_same_moment_the_first_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool, moment: str
) -> None:
    first = open_store(tmp_path, RECIPE, layout="peft", mode="write")
    second = open_store(tmp_path, RECIPE, layout="peft", mode="write")
    if is_replaced:
        first.put_many(names(1), ROWS[2:3], ["old"])
    place: Any = {"sync_path": peft_folders, "turn": lock_file, "rename": Path}[moment]
    real, num_calls = getattr(place, moment), 0

    def store_first(*args: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            first.put_many(names(1), ROWS[:1], ["text"])
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(place, moment, store_first)
        second.put_many(names(1), ROWS[1:2], ["text"])
    assert num_calls > 0
    for store in (first, second):
        store.close()
    with open_store(tmp_path, mode="read") as store:
        assert store.text_digests(names(1)) == {"doc 0": "text"}
        assert torch.equal(store.get_many(names(1)), ROWS[:1])
    assert verify_store(tmp_path) == []
    assert list(tmp_path.glob(".unfinished-*")) == []
