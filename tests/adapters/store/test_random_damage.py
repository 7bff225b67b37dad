"""One to three random faults at once in a store with adapters that were replaced and deleted."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import packed_writer
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, damages, names

IDS = names(10)
OLD, NEW = adapters(10), adapters(10, seed=1)
# Of the last document the adapter was deleted.
EXPECTED = dict(zip(IDS[:9], torch.cat([NEW[:2], OLD[2:9]]), strict=True))
DIGESTS = dict(zip(IDS[:9], ["new"] * 2 + ["old"] * 7, strict=True))


def _flip(content: bytearray, places: random.Random) -> None:
    content[places.randrange(len(content))] ^= 1 << places.randrange(8)


def _cut(content: bytearray, places: random.Random) -> None:
    del content[places.randrange(len(content)) :]


def _append(content: bytearray, places: random.Random) -> None:
    content += places.randbytes(places.randrange(1, 300))


def _insert(content: bytearray, places: random.Random) -> None:
    start = places.randrange(len(content))
    content[start:start] = b"x" * places.randrange(1, 5)


def _zero(content: bytearray, places: random.Random) -> None:
    start = places.randrange(len(content))
    stop = min(len(content), start + places.randrange(1, 100))
    content[start:stop] = bytes(stop - start)


def _swap_lines(content: bytearray, places: random.Random) -> None:
    lines = content.split(b"\n")
    i, j = places.randrange(len(lines)), places.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    content[:] = b"\n".join(lines)


def _repeat_line(content: bytearray, places: random.Random) -> None:
    lines = content.split(b"\n")
    lines.insert(places.randrange(len(lines)), places.choice(lines))
    content[:] = b"\n".join(lines)


FAULTS: list[Callable[[bytearray, random.Random], None]] = [
    _flip,
    _cut,
    _append,
    _insert,
    _zero,
    _swap_lines,
    _repeat_line,
]


def damage(folder: Path, places: random.Random) -> list[str]:
    """Damage a store, and return which files; deleting is one more fault."""
    touched: list[str] = []
    for _ in range(places.choice([1, 1, 2, 3])):
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock"]
        file = places.choice([p for p in files if p.name != "manifest.json"])
        content = bytearray(file.read_bytes())
        fault = places.choice([*FAULTS, None])
        if fault is None:
            file.unlink()
        elif content:
            fault(content, places)
            if content == file.read_bytes():
                continue
            file.write_bytes(content)
        touched.append(f"{file.relative_to(folder)} {fault}")
    return touched


def read(folder: Path, num_faults: int) -> None:
    """Read all that is given out: it must be right, and nothing be called absent."""
    try:
        store = open_store(folder, RECIPE, mode="read")
    except ValueError:
        return
    with store:
        for document_id, row in EXPECTED.items():
            try:
                assert document_id in store
                assert torch.equal(store.get_many([document_id])[0], row)
            except (ValueError, FileNotFoundError):
                pass
        # What brings it back is two faults: in its journal, between two lines, and in the index.
        assert IDS[9] not in store or num_faults > 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*this index is damaged")
@pytest.mark.usefixtures("no_waiting")
def test_whatever_is_damaged_is_found_and_repaired_and_nothing_wrong_is_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 3 * 4 * RECIPE.layout.num_params)
    for layout in LAYOUTS:
        with open_store(tmp_path / layout, RECIPE, layout=layout, mode="write") as store:
            store.put_many(IDS, OLD, ["old"] * 10)
        with open_store(tmp_path / layout, RECIPE, layout=layout, mode="write") as store:
            store.put_many(IDS[:2], NEW[:2], ["new"] * 2)
            store.delete(IDS[9:])
    places = random.Random(seed)
    for number in range(2000 if seed else 40):
        layout, folder = places.choice(LAYOUTS), tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / layout, folder)
        touched = damage(folder, places)
        assert bool(verify_store(folder)) >= bool(touched), (number, touched)
        read(folder, len(touched))
        repair_store(folder)
        assert verify_store(folder) == [], (number, touched)
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            for document_id in store.ids():
                rows = NEW if store.text_digest(document_id) == "new" else OLD
                row = rows[IDS.index(document_id)]
                assert torch.equal(store.get_many([document_id])[0], row), (number, touched)
            assert IDS[9] not in store or len(touched) > 1
            store.put_many(
                list(EXPECTED), torch.stack(list(EXPECTED.values())), list(DIGESTS.values())
            )
            for document_id, row in EXPECTED.items():
                assert torch.equal(store.get_many([document_id])[0], row), (number, touched)
        assert damages(folder) == [], (number, touched)
