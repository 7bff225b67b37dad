"""A store when processes die, power fails, disks are full, and several write at once."""

import errno
import itertools
import os
import random
import resource
import signal
import threading
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import packed_writer
from prag_lightning.adapters.store.durable import StoreFullError
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.packed_files import shard_header
from prag_lightning.adapters.store.rows import RowCodec
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

NUM_DOCUMENTS = 3


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shard hold two adapters, and the index be written at every third."""
    size = 4 * RECIPE.layout.num_params
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 2 * size)
    monkeypatch.setattr(packed_writer, "FOLD_EVERY", 3)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.usefixtures("small_shards")
# A process that dies closes nothing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("no_waiting")
def test_a_death_at_any_write_leaves_whole_adapters_and_all_that_put_returned_for(
    tmp_path: Path, layout: str, power_cut: bool
) -> None:
    rows = adapters(NUM_DOCUMENTS + 1)
    ids = names(NUM_DOCUMENTS + 1)
    for call in itertools.count(1):
        folder = tmp_path / str(call)
        returned: list[str] = []
        with killed_at(call, power_cut=power_cut) as outcome:
            store = open_store(folder, RECIPE, layout=layout, mode="write")
            for document_id, row in zip(ids[:NUM_DOCUMENTS], rows, strict=False):
                put(store, document_id, row, "text")
                returned.append(document_id)
            store.close()
        if not outcome.died:
            break
        if (folder / "manifest.json").exists():
            assert damages(folder) == [], call
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            kept = sorted(store.ids())
            assert set(returned) <= set(kept) <= set(ids), call
            assert torch.equal(store.get_many(kept), rows[[ids.index(i) for i in kept]]), call
            store.put_many(ids, rows, ["text"] * len(ids))
        with open_store(folder, mode="read") as store:
            assert sorted(store.ids()) == ids
            assert torch.equal(store.get_many(ids), rows), call
        assert damages(folder) == [], call
    # A put alone is three writes and flushes or more.
    assert call > 4 * NUM_DOCUMENTS


@pytest.mark.usefixtures("small_shards")
def test_an_error_of_the_disk_at_any_write_leaves_a_store_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, ids = adapters(NUM_DOCUMENTS), names(NUM_DOCUMENTS)
    for function, number in itertools.product(("pwrite", "fsync"), range(1, 6)):
        folder = tmp_path / f"{function} {number}"
        with open_store(folder, RECIPE, mode="write") as store:
            put(store, ids[0], rows[0], "text")
            with monkeypatch.context() as patched:
                _fail_once(patched, function, number)
                with suppress(OSError):
                    put(store, ids[1], rows[1], "text")
            store.put_many(ids, rows, ["text"] * 3)
        assert damages(folder) == []
        with open_store(folder, mode="read") as store:
            assert torch.equal(store.get_many(ids), rows)


def _fail_once(patched: pytest.MonkeyPatch, function: str, number: int) -> None:
    real, calls = getattr(os, function), itertools.count(1)

    def failing(*args: int) -> int | None:
        if next(calls) == number:
            raise OSError(errno.EIO, "Input/output error")
        result: int | None = real(*args)
        return result

    patched.setattr(os, function, failing)


def test_a_record_cut_at_any_byte_costs_only_itself(tmp_path: Path) -> None:
    rows = fill(tmp_path / "whole", 3)
    journal = (tmp_path / "whole/writer-00000/000000.jsonl").read_bytes()
    shard = (tmp_path / "whole/writer-00000/000000.safetensors").read_bytes()
    manifest = (tmp_path / "whole/manifest.json").read_bytes()
    header, size = 4096, 4 * RECIPE.layout.num_params
    cuts = [(header + 2 * size + cut, len(journal[: journal[:-1].rindex(b"\n") + 1])) for cut in
            range(0, size, 101)]  # fmt: skip
    line_start = journal[:-1].rindex(b"\n") + 1
    cuts += [(len(shard), cut) for cut in range(line_start, len(journal), 7)]
    for number, (shard_end, journal_end) in enumerate(cuts):
        folder = tmp_path / str(number)
        (folder / "writer-00000").mkdir(parents=True)
        (folder / "manifest.json").write_bytes(manifest)
        # As it was before the first closing: no header yet, no index.
        unsealed = shard_header(RowCodec(RECIPE.layout, "float32"), 0)
        (folder / "writer-00000/000000.safetensors").write_bytes(unsealed + shard[header:shard_end])
        (folder / "writer-00000/000000.jsonl").write_bytes(journal[:journal_end])
        with open_store(folder, RECIPE, mode="write") as store:
            assert list(store.ids()) == names(2)
            put(store, "doc 2", rows[2], "text of doc 2")
        with open_store(folder, mode="read") as store:
            assert torch.equal(store.get_many(names(3)), rows)
        assert damages(folder) == []


def _write_for_ever(folder: Path, connection: Connection, writer: int) -> None:
    """Store adapters until killed; tell of each when it is stored."""
    torch.set_num_threads(1)
    store = open_store(folder, RECIPE, mode="write")
    for number, row in enumerate(adapters(2000, seed=writer)):
        document_id = f"writer {writer} doc {number}"
        if document_id not in store:
            put(store, document_id, row, "text")
            connection.send(document_id)
    store.close()


def _received(connection: Connection) -> list[str]:
    received: list[str] = []
    # The last message may have died with its sender.
    with suppress(EOFError, OSError):
        while connection.poll():
            received.append(connection.recv())
    return received


def test_kill_9_at_random_moments_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["prag_lightning.adapters.store.opening"])
    moments = random.Random(0)
    told: list[str] = []
    for _ in range(8):
        # Two writers; both die.
        pairs = [processes.Pipe(duplex=False) for _ in range(2)]
        writers = [
            processes.Process(target=_write_for_ever, args=(tmp_path, sender, writer))
            for writer, (_, sender) in enumerate(pairs)
        ]
        for process in writers:
            process.start()
        for receiver, _ in pairs:
            assert receiver.poll(60)
        time.sleep(moments.uniform(0, 0.1))
        for process in writers:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        for receiver, sender in pairs:
            sender.close()
            told += _received(receiver)
            receiver.close()
        assert damages(tmp_path) == []
    assert len(told) == len(set(told)), "an adapter was stored twice"
    expected = [adapters(2000, seed=writer) for writer in range(2)]
    with open_store(tmp_path, mode="read") as store:
        stored = list(store.ids())
        assert set(told) <= set(stored)
        assert len(stored) == len(set(stored)) == len(store)
        for document_id, row in zip(stored, store.get_many(stored), strict=True):
            _, writer, _, number = document_id.split()
            assert torch.equal(row, expected[int(writer)][int(number)])
    assert len(told) >= 16


def test_a_file_that_may_not_grow_stops_the_writer_with_need_and_room_and_then_goes_on(
    tmp_path: Path,
) -> None:
    rows, ids = adapters(40), names(40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = open_store(tmp_path, RECIPE, mode="write")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 + 10 * 256 + 100, hard))
    try:
        store.put_many(ids[:10], rows[:10], ["text"] * 10)
        with pytest.raises(
            StoreFullError, match=r"no room: \d+ bytes are needed and .* are free"
        ) as full:
            put(store, ids[10], rows[10], "text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.errno == errno.ENOSPC
    assert full.value.filename.endswith("000000.safetensors")
    assert sorted(store.ids()) == sorted(ids[:10])
    assert torch.equal(store.get_many(ids[:10]), rows[:10])
    assert damages(tmp_path) == []
    store.put_many(ids, rows, ["text"] * 40)
    store.close()
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(ids), rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_a_store_that_reads_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, code: int
) -> None:
    first, second = adapters(2)

    def full(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        put(store, "first", first, "text")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StoreFullError, match="make room and start the same command again"):
                put(store, "second", second, "text")
        assert list(store.ids()) == ["first"]
        assert torch.equal(store.get_many(["first"])[0], first)
        assert damages(tmp_path) == []
        put(store, "second", second, "text")
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(["first", "second"]), torch.stack([first, second]))


def test_no_room_for_the_index_costs_no_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = adapters(50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = open_store(tmp_path, RECIPE, mode="write")
    store.put_many(names(50), rows, ["text"] * 50)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StoreFullError, match="make room"):
            store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with open_store(tmp_path, RECIPE, mode="write") as store:
        assert torch.equal(store.get_many(names(50)), rows)
    assert damages(tmp_path) == []


@pytest.mark.usefixtures("small_shards")
def test_one_thread_may_ask_while_another_writes(tmp_path: Path) -> None:
    rows = adapters(20)
    problems: list[str] = []
    done = threading.Event()
    with open_store(tmp_path, RECIPE, mode="write") as store:
        put(store, "doc 0", rows[0], "text")

        def ask() -> None:
            while not done.is_set():
                if "doc 0" not in store or "stranger" in store:
                    problems.append("wrong answer")

        asking = threading.Thread(target=ask)
        asking.start()
        for document_id, row in zip(names(20), rows, strict=True):
            put(store, document_id, row, "text")
        done.set()
        asking.join()
    assert problems == []


@pytest.mark.usefixtures("small_shards")
def test_a_reader_sees_whole_adapters_while_another_writes(tmp_path: Path) -> None:
    rows, ids = adapters(12), names(12)
    with open_store(tmp_path, RECIPE, mode="write") as writing:
        for number, (document_id, row) in enumerate(zip(ids, rows, strict=True)):
            put(writing, document_id, row, "text")
            with open_store(tmp_path, mode="read") as reading:
                assert len(reading) == number + 1
                assert torch.equal(reading.get_many(ids[: number + 1]), rows[: number + 1])
