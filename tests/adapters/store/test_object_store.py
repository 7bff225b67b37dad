"""Stores that are written to an object store, in memory and on a real S3 server."""

import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store import lease, object_writer
from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.durable import StoreLostError
from prag_lightning.adapters.store.merging import merge_stores
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from prag_lightning.adapters.store.status import store_status
from tests.adapters.store.store_world import RECIPE, adapters, damages, fill, names, put
from tests.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")):
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where there is no store yet."""
    root = "memory:/" if request.param == "memory" else request.getfixturevalue("server")
    return f"{root}{tmp_path}/store"


@pytest.fixture
def memory(tmp_path: Path) -> str:
    return f"memory:/{tmp_path}/store"


def write(url: str) -> AdapterStore:
    return open_store(url, RECIPE, mode="write")


def read_ids(url: str) -> list[str]:
    with open_store(url, mode="read") as store:
        return list(store.ids())


def die(store: AdapterStore) -> None:
    """Let the writer of a store die: nothing it has not uploaded is ever seen."""
    held: Any = store._lock
    held._ended.set()
    held._renewal.join()
    store._abandon()


def test_what_writers_put_is_read_once_it_is_uploaded(url: str) -> None:
    rows = adapters(6)
    with write(url) as first, write(url) as second:
        assert first.writer != second.writer
        for number, store in enumerate([first, first, second]):
            put(store, names(6)[number], rows[number], "text")
        assert first.text_digests(names(6)) == {"doc 0": "text", "doc 1": "text"}
        assert read_ids(url) == []
        first.flush()
        assert read_ids(url) == ["doc 0", "doc 1"]
        # What is read is uploaded, too.
        assert torch.equal(second.get_many(["doc 2"])[0], rows[2])
        second.refresh()
        assert list(second.ids()) == read_ids(url) == names(3)
        put(first, "doc 0", rows[3], "another text")
        put(second, "doc 4", rows[4], "text")
    with open_store(url, mode="read") as store:
        assert torch.equal(store.get_many(["doc 0", "doc 2", "doc 4"]), rows[[3, 2, 4]])
        assert {writer.state for writer in store_status(store).writers} == {"done"}
        assert sum(writer.num_documents or 0 for writer in store_status(store).writers) == 4
    assert damages(url) == []


def test_adapters_are_uploaded_together_by_size_or_by_time(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, size = adapters(6), 4 * RECIPE.layout.num_params
    monkeypatch.setattr(object_writer, "SHARD_BYTES", 2 * size)
    with write(memory) as store:
        put(store, "doc 0", rows[0], "text")
        assert read_ids(memory) == []
        put(store, "doc 1", rows[1], "text")
        assert read_ids(memory) == names(2)
        put(store, "doc 2", rows[2], "text")
        assert read_ids(memory) == names(2)
        monkeypatch.setattr(object_writer, "UPLOAD_SECONDS", 0.0)
        store.put_many(["doc 3"], rows[3:4], ["text"])
        assert read_ids(memory) == names(4)
        store.put_many(["doc 4"], rows[4:5], ["text"])
        shards = [name for name in store.files.all_names() if name.endswith(".safetensors")]
    assert len(shards) == 3
    with open_store(memory, mode="read") as store:
        # From the index, which covers all journals.
        assert torch.equal(store.get_many(names(5)), rows[:5])
        assert any(name.endswith(".sqlite") for name in store.files.all_names())
    assert verify_store(memory) == []


def test_a_document_is_claimed_once_until_it_is_uploaded_or_its_writer_is_done_or_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = write(url), write(url), write(url)
    assert first.claim(names(4)) == names(4)
    assert second.claim(names(6)) == ["doc 4", "doc 5"]
    put(first, "doc 0", adapters(1)[0], "text")
    first.release(["doc 1"])
    assert second.claim(names(4)) == []
    # This uploads what was put, and gives up the rest.
    assert first.claim(["doc 5"]) == []
    assert second.claim(names(4)) == ["doc 0", "doc 1"]
    assert second.text_digests(names(4)) == {"doc 0": "text"}
    first.close()
    assert third.claim(["doc 2", "doc 4"]) == ["doc 2"]
    die(second)
    assert third.claim(["doc 4", "doc 5"]) == []
    with open_store(url, mode="read") as store:
        states = {writer.number: writer.state for writer in store_status(store).writers}
        assert states == {first.writer: "done", second.writer: "writing", third.writer: "writing"}
        monkeypatch.setattr(lease, "LIFE", timedelta(0))
        dead = {writer.number: writer.state for writer in store_status(store).writers}
        assert dead[second.writer] == "dead"
    assert third.claim(["doc 4", "doc 5"]) == ["doc 4", "doc 5"]
    third.close()


def test_a_lease_is_renewed_while_its_writer_lives(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LIFE", timedelta(seconds=0.5))
    monkeypatch.setattr(lease, "_RENEWAL_SECONDS", 0.05)
    first, second = write(memory), write(memory)
    assert first.claim(["doc 0"]) == ["doc 0"]
    time.sleep(0.8)
    assert second.claim(["doc 0"]) == []
    die(first)
    time.sleep(0.8)
    assert second.claim(["doc 0"]) == ["doc 0"]
    second.close()


def test_a_writer_that_was_cut_off_for_a_while_has_its_later_claims(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(memory), write(memory)
    assert first.claim(["doc 0"]) == ["doc 0"]
    with monkeypatch.context() as cut_off:
        cut_off.setattr(lease, "LIFE", timedelta(0))
        assert second.claim(["doc 0"]) == ["doc 0"]
    assert first.claim(["doc 0", "doc 1"]) == ["doc 1"]
    assert second.claim(["doc 1"]) == []
    for store in (first, second):
        store.close()


def test_of_writers_that_claim_at_the_same_moment_each_document_goes_to_one(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_LONGEST_PAUSE", 0.02)
    slow_down(monkeypatch)
    stores = [write(memory) for _ in range(4)]
    left, taken = names(24), list[str]()
    start = threading.Barrier(len(stores))

    def take_all(store: AdapterStore, seed: int) -> None:
        order = random.Random(seed)
        start.wait()
        while wanted := [name for name in left if name not in taken]:
            # All ask for the same.
            granted = store.claim(wanted[: order.randint(1, 4)])
            taken.extend(granted)

    threads = [
        threading.Thread(target=take_all, args=(store, seed)) for seed, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(left)
    for store in stores:
        store.close()


def slow_down(patch: pytest.MonkeyPatch) -> None:
    """Let other threads run before and after each operation, as a network does."""
    ask = StoreFiles._ask

    def later(files: StoreFiles, *args: Any, **kwargs: Any) -> Any:
        time.sleep(random.random() * 0.002)
        return ask(files, *args, **kwargs)

    patch.setattr(StoreFiles, "_ask", later)


def test_a_writer_that_dies_between_two_objects_leaves_nothing_that_counts(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = adapters(3)
    killed = write(url)
    put(killed, "doc 0", rows[0], "text")
    killed.flush()
    put(killed, "doc 1", rows[1], "text")

    def without_journals(files: StoreFiles, name: str, *args: Any, **options: Any) -> None:
        if name.endswith(".jsonl"):
            raise OSError("the network is gone")
        write_object(files, name, *args, **options)

    write_object = StoreFiles.write
    with monkeypatch.context() as gone:
        gone.setattr(StoreFiles, "write", without_journals)
        with pytest.raises(OSError, match="the network is gone"):
            killed.flush()
    die(killed)
    assert read_ids(url) == ["doc 0"]
    found = verify_store(url)
    assert [damage.harmless for damage in found] == [True]
    assert "killed before it was in the store" in found[0].what
    with write(url) as store:
        put(store, "doc 1", rows[2], "text")
    with open_store(url, mode="read") as store:
        assert torch.equal(store.get_many(names(2)), rows[[0, 2]])


def test_what_could_not_be_uploaded_is_uploaded_later(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("the network is gone")

    store = write(memory)
    put(store, "doc 0", adapters(1)[0], "text")
    with monkeypatch.context() as gone:
        gone.setattr(MemoryFileSystem, "pipe_file", fail)
        with pytest.raises(OSError, match="the network is gone"):
            store.flush()
    store.close()
    assert read_ids(memory) == ["doc 0"]


def test_deleting_and_merging_need_the_store_alone(url: str, tmp_path: Path) -> None:
    rows = fill(tmp_path / "local", 3)
    assert sorted(merge_stores([str(tmp_path / "local")], url)) == names(3)
    with write(url) as first, write(url) as second:
        with pytest.raises(BlockingIOError, match=r"process \d+ on host .* is writing into this"):
            second.delete(["doc 1"])
        assert "doc 1" in first
        with pytest.raises(BlockingIOError, match=r"writing into this store"):
            list(merge_stores([url], str(tmp_path / "other")))
    with write(url) as store:
        store.delete(["doc 1"])
        with store.alone(), pytest.raises(BlockingIOError, match="deletes or merges in this"):
            write(url)
    with open_store(url, mode="read") as store:
        assert list(store.ids()) == ["doc 0", "doc 2"]
        assert torch.equal(store.get_many(["doc 0", "doc 2"]), rows[[0, 2]])
    assert damages(url) == []


def test_a_store_that_is_deleted_or_replaced_while_a_run_writes_is_missed(url: str) -> None:
    fs, root = fsspec.url_to_fs(url, use_listings_cache=False)
    first, second = write(url), write(url)
    put(first, "doc 0", adapters(1)[0], "text")
    fs.rm(f"{root}/manifest.json")
    with pytest.raises(StoreLostError, match=r"was deleted, moved or unlocked"):
        put(first, "doc 1", adapters(1)[0], "text")
    other = RECIPE.model_copy(update={"prompt_version": "2"})
    with open_store(url, other, mode="write") as third:
        assert third.recipe == other
        die(second)
        with pytest.raises(ValueError, match="adapters of another recipe"):
            write(url)
    with pytest.raises(StoreLostError):
        put(first, "doc 1", adapters(1)[0], "text")
    die(first)


def test_what_needs_a_disk_is_refused_with_what_to_do_instead(memory: str) -> None:
    with pytest.raises(ValueError, match=r"'peft' is written to a disk only; choose layout 'pa"):
        open_store(memory, RECIPE, layout="peft", mode="write")
    other = f"{memory}/other"
    write(other).close()
    with pytest.raises(ValueError, match="repaired on a disk only; copy it there and back"):
        repair_store(other)


def test_an_object_store_that_cannot_be_asked_is_said_in_one_line(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server}/store"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(ValueError, match=r"s3://.* cannot be written .*check the bucket"):
        write(url)
    with pytest.raises(PermissionError, match=r"s3://.*signature"):
        open_store(url, mode="read")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
