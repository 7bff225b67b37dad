"""Damaged and hostile stores: everything is found, nothing damaged is given out, the rest stays."""

import pickle
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import packed_writer
from prag_lightning.adapters.store.durable import digest_file
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from prag_lightning.adapters.store.packed_index import index_name
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, fill, names, put

# What a damaged index warns of.
DAMAGED_INDEX = "ignore:.*this index is damaged .* the journals are read meanwhile"
# The long one is the whole figure of docs/store.md.
AMOUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shard hold three adapters."""
    size = 4 * RECIPE.layout.num_params
    monkeypatch.setattr(packed_writer, "SHARD_BYTES", 4096 + 3 * size)


def files_of(folder: Path) -> list[Path]:
    """Return the files that hold anything of a store: all but the locks."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def read_what_can_be_read(folder: Path, rows: torch.Tensor) -> int:
    """Return how many adapters are given out; each must be the right one, and none be absent."""
    num_read = 0
    try:
        store = open_store(folder, RECIPE, mode="read")
    except (ValueError, FileNotFoundError):
        return 0
    with store:
        for document_id, row in zip(names(len(rows)), rows, strict=True):
            try:
                assert document_id in store
                assert torch.equal(store.get_many([document_id])[0], row)
                num_read += 1
            except (ValueError, FileNotFoundError):
                pass
    return num_read


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_flips", AMOUNTS)
@pytest.mark.usefixtures("small_shards")
@pytest.mark.filterwarnings(DAMAGED_INDEX)
def test_every_flipped_byte_is_found_and_no_damaged_adapter_is_given_out(
    tmp_path: Path, layout: str, num_flips: int
) -> None:
    rows = fill(tmp_path, 7, layout)
    files = files_of(tmp_path)
    places = random.Random(0)
    for _ in range(num_flips):
        file = places.choices(files, weights=[f.stat().st_size for f in files])[0]
        whole = file.read_bytes()
        offset = places.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << places.randrange(8)
        file.write_bytes(flipped)
        assert verify_store(tmp_path), (file, offset)
        read_what_can_be_read(tmp_path, rows)
        file.write_bytes(whole)
    assert verify_store(tmp_path) == []
    assert read_what_can_be_read(tmp_path, rows) == 7


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_files", AMOUNTS)
@pytest.mark.usefixtures("small_shards")
@pytest.mark.filterwarnings(DAMAGED_INDEX)
def test_every_truncated_file_is_found_and_no_damaged_adapter_is_given_out(
    tmp_path: Path, layout: str, num_files: int
) -> None:
    rows = fill(tmp_path, 7, layout)
    files = files_of(tmp_path)
    places = random.Random(1)
    for _ in range(num_files // 10):
        file = places.choice(files)
        whole = file.read_bytes()
        length = places.randrange(len(whole))
        file.write_bytes(whole[:length])
        assert verify_store(tmp_path), (file, length)
        read_what_can_be_read(tmp_path, rows)
        file.write_bytes(whole)
    assert verify_store(tmp_path) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_is_named_and_the_other_adapters_are_read(tmp_path: Path, layout: str) -> None:
    rows = fill(tmp_path, 5, layout)
    with open_store(tmp_path, mode="read") as store:
        bytes_of_3 = store.get_many(["doc 3"]).numpy().tobytes()
    (file,) = (f for f in tmp_path.rglob("*.safetensors") if bytes_of_3[:64] in f.read_bytes())
    content = file.read_bytes()
    middle = content.index(bytes_of_3[:64]) + 5
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    (damage,) = verify_store(tmp_path)
    assert damage.document_id == "doc 3"
    assert (tmp_path / damage.file).exists()
    with open_store(tmp_path, mode="read") as store:
        with pytest.raises(
            ValueError, match=r"document 'doc 3' is damaged; run `prag store verify STORE"
        ):
            store.get_many(["doc 0", "doc 3"])
        assert torch.equal(store.get_many(["doc 0", "doc 4"]), rows[[0, 4]])


def _cut(pattern: str, keep: Callable[[int], int]) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        file.write_bytes(file.read_bytes()[: keep(file.stat().st_size)])

    return cut


def _overwrite(pattern: str, offset: int, content: bytes) -> Callable[[Path], None]:
    def overwrite(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        whole = file.read_bytes()
        start = offset % len(whole)
        file.write_bytes(whole[:start] + content + whole[start + len(content) :])

    return overwrite


def _delete(pattern: str) -> Callable[[Path], None]:
    def delete(folder: Path) -> None:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return delete


def _merge_lines(folder: Path) -> None:
    (file,) = folder.glob(JOURNAL)
    file.write_bytes(file.read_bytes().replace(b"\n", b" ", 1))


def _both(*damages: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return both


SHARD, JOURNAL, INDEX = (f"writer-00000/{name}" for name in ("*.safetensors", "*.jsonl", "index-*"))


@pytest.mark.parametrize(
    ("layout", "damage", "lost"),
    [
        ("packed", _overwrite(SHARD, 0, b"\0"), 0),
        ("packed", _overwrite(SHARD, 4096 + 256 + 7, b"!!!"), 1),
        ("packed", _overwrite(JOURNAL, 5, b"\xff"), 0),
        ("packed", _overwrite(JOURNAL, -5, b"\n"), 0),
        ("packed", _overwrite(JOURNAL, 30, b"\n"), 0),
        ("packed", _overwrite(JOURNAL, 12, b"9"), 0),
        ("packed", _merge_lines, 0),
        ("packed", _both(_merge_lines, _delete(INDEX)), 2),
        ("packed", _both(_merge_lines, _overwrite(INDEX, -20, b"\xff")), 2),
        ("packed", _both(_overwrite(JOURNAL, 12, b"9"), _delete(INDEX)), 1),
        ("packed", _overwrite(INDEX, 0, b"no database"), 0),
        ("packed", _overwrite(INDEX, -20, b"\xff"), 0),
        ("packed", _cut(SHARD, lambda size: size - 300), 2),
        ("packed", _cut(SHARD, lambda _: 100), 5),
        ("packed", _cut(JOURNAL, lambda size: size - 1), 0),
        ("packed", _cut(JOURNAL, lambda _: 0), 0),
        ("packed", _both(_cut(JOURNAL, lambda _: 0), _delete(INDEX)), 5),
        ("packed", _cut(INDEX, lambda size: size // 2), 0),
        ("packed", _delete(SHARD), 5),
        ("packed", _delete(JOURNAL), 0),
        ("packed", _both(_delete(JOURNAL), _delete(INDEX)), 5),
        ("packed", _both(_delete(JOURNAL), _delete(SHARD)), 5),
        ("peft", _delete("documents/*/*/adapter_config.json"), 5),
        ("peft", _delete("documents/*/*/adapter_model.safetensors"), 5),
        ("peft", _delete("documents/*/*/document.json"), 5),
    ],
)
@pytest.mark.filterwarnings(DAMAGED_INDEX)
def test_repair_takes_out_what_is_damaged_and_the_next_run_puts_it_back(
    tmp_path: Path, layout: str, damage: Callable[[Path], None], lost: int
) -> None:
    rows, ids = fill(tmp_path, 5, layout), names(5)
    damage(tmp_path)
    found = verify_store(tmp_path)
    assert found
    assert repair_store(tmp_path) == found
    assert verify_store(tmp_path) == []
    with open_store(tmp_path, mode="read") as store:
        kept = sorted(store.ids())
        assert len(kept) == 5 - lost
        assert torch.equal(store.get_many(kept), rows[[ids.index(i) for i in kept]])
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        store.put_many(ids, rows, [f"text of {i}" for i in ids])
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(ids), rows)
    assert verify_store(tmp_path) == []


def test_a_writer_does_not_write_behind_a_journal_that_lost_lines(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    _cut(JOURNAL, lambda size: size // 2)(tmp_path)
    with pytest.raises(
        ValueError, match=r"has 322 bytes, but the index knows 645; run `prag store verify STORE"
    ):
        open_store(tmp_path, RECIPE, mode="write")


@pytest.mark.parametrize("indexed", [True, False])
def test_a_writer_does_not_take_the_place_of_a_shard_that_lost_its_journal(
    tmp_path: Path, indexed: bool
) -> None:
    fill(tmp_path, 5)
    _delete(JOURNAL)(tmp_path)
    if not indexed:
        _delete(INDEX)(tmp_path)
    with pytest.raises(ValueError, match=r"000000\.jsonl: (is missing|has 0 bytes).*; run `prag"):
        open_store(tmp_path, RECIPE, mode="write")


@pytest.mark.filterwarnings(DAMAGED_INDEX)
def test_a_write_behind_a_damaged_index_hides_no_document(tmp_path: Path) -> None:
    # One digit of a checksum, so that SQLite itself sees nothing.
    rows = fill(tmp_path, 40)
    (file,) = tmp_path.glob(INDEX)
    with open_store(tmp_path, mode="read") as store:
        checksum = store.find(["doc 7"])["doc 7"].place[1].checksum  # type: ignore[index]
    other = checksum[:-1] + ("0" if checksum[-1] != "0" else "1")
    file.write_bytes(file.read_bytes().replace(checksum.encode(), other.encode()))
    assert [damage.file for damage in verify_store(tmp_path)] == [f"writer-00000/{file.name}"]
    with open_store(tmp_path, RECIPE, mode="write") as store:
        put(store, "new", rows[0], "text")
    assert verify_store(tmp_path) == []
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(40)), rows)


def test_an_index_that_is_damaged_while_a_run_writes_is_made_anew_from_the_journals(
    tmp_path: Path,
) -> None:
    rows = fill(tmp_path, 5)
    with open_store(tmp_path, RECIPE, mode="write") as store:
        _overwrite(INDEX, -20, b"\xff")(tmp_path)
        put(store, "new", rows[0], "text")
    assert verify_store(tmp_path) == []
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many([*names(5), "new"]), rows[[0, 1, 2, 3, 4, 0]])


def edit_index(folder: Path, sql: str) -> Path:
    """Change an index, and give it the name of its bytes: as a write behind damage once did."""
    (file,) = folder.glob(INDEX)
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.close()
    return file.rename(file.with_name(index_name(digest_file(file))))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE adapters SET row = 1 WHERE id = 'doc 0'",
        "UPDATE adapters SET row = 10000000 WHERE id = 'doc 0'",
        "UPDATE adapters SET row = 'x', checksum = NULL WHERE id = 'doc 0'",
        "DELETE FROM adapters WHERE id = 'doc 0'; UPDATE adapters SET id = 'doc 0' WHERE row = 3",
        "UPDATE adapters SET text_digest = 'other' WHERE id = 'doc 0'",
        "UPDATE adapters SET checksum = 'other' WHERE id = 'doc 0'",
    ],
)
def test_an_index_that_says_something_else_than_the_journals_is_found_and_made_anew(
    tmp_path: Path, sql: str
) -> None:
    rows = fill(tmp_path, 5)
    file = edit_index(tmp_path, sql)
    with (
        open_store(tmp_path, mode="read") as store,
        pytest.raises(ValueError, match="damaged"),
    ):
        store.get_many(["doc 0"])
    (damage,) = verify_store(tmp_path)
    assert damage.file == f"writer-00000/{file.name}"
    assert repair_store(tmp_path) == [damage]
    assert verify_store(tmp_path) == []
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(5)), rows)


def test_a_document_that_an_index_does_not_know_is_found_again(tmp_path: Path) -> None:
    rows = fill(tmp_path, 5)
    edit_index(tmp_path, "DELETE FROM adapters WHERE id = 'doc 2'")
    (damage,) = repair_store(tmp_path)
    assert damage.what.startswith("says of 1 documents something else than the journals")
    assert damage.document_id == "doc 2"
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(5)), rows)


@pytest.mark.parametrize(
    ("layout", "damage"),
    [
        ("packed", _both(_delete(INDEX), _overwrite(JOURNAL, 20, b"X"))),
        ("packed", _both(_delete(INDEX), _delete(JOURNAL))),
        ("packed", _both(_delete(INDEX), _cut(JOURNAL, lambda size: size // 2))),
        ("peft", _delete("documents/*/*/document.json")),
        ("peft", _overwrite("documents/*/*/document.json", 20, b"X")),
    ],
)
def test_where_something_is_damaged_no_document_is_called_absent(
    tmp_path: Path, layout: str, damage: Callable[[Path], None]
) -> None:
    fill(tmp_path, 1, layout)
    damage(tmp_path)
    with (
        pytest.raises(ValueError, match=r"run `prag store verify STORE --repair true`"),
        open_store(tmp_path, mode="read") as store,
    ):
        assert "doc 0" in store
    repair_store(tmp_path)
    with open_store(tmp_path, mode="read") as store:
        assert "doc 0" not in store


def _append(pattern: str, content: bytes) -> Callable[[Path], None]:
    def append(folder: Path) -> None:
        (file,) = folder.glob(pattern)
        file.write_bytes(file.read_bytes() + content)

    return append


def _swap_lines(folder: Path) -> None:
    (file,) = folder.glob(JOURNAL)
    first, second, *others = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([second, first, *others]))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_append(SHARD, b"x"), "1 bytes behind its last adapter"),
        (_append(SHARD, b"x" * 1000), "1000 bytes behind its last adapter"),
        (_append(JOURNAL, b"half a li"), "ends in 9 bytes of a line that was being written"),
        (_swap_lines, "its lines are not in the order of its rows"),
    ],
)
def test_what_does_no_harm_is_found_and_called_so(
    tmp_path: Path, damage: Callable[[Path], None], what: str
) -> None:
    rows = fill(tmp_path, 5)
    damage(tmp_path)
    (found,) = verify_store(tmp_path)
    assert found.harmless
    assert found.what == what
    for repaired in (False, True):
        with open_store(tmp_path, mode="read") as store:
            assert torch.equal(store.get_many(names(5)), rows)
        if not repaired:
            assert repair_store(tmp_path) == [found]
    assert verify_store(tmp_path) == []


def test_a_line_that_is_appended_to_a_journal_is_found(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    _append(JOURNAL, b'{"id":"doc 1","version":1,"stored":0}\n')(tmp_path)
    (damage,) = verify_store(tmp_path)
    assert damage.what == "lines that cannot be read: 1"
    assert not damage.harmless


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"checksum": 1}'],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, 1)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest.json: not a manifest .* restore it"):
        open_store(tmp_path, mode="read")
    assert [damage.file for damage in verify_store(tmp_path)] == ["manifest.json"]


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"lr": 0.0003', '"lr": 0.001'))
    with pytest.raises(ValueError, match="its checksum is wrong, so it is damaged or was edited"):
        open_store(tmp_path, mode="read")


class _Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pickle_in_a_store_is_refused_and_never_read(
    tmp_path: Path, layout: str, suffix: str
) -> None:
    store_dir, mark = tmp_path / "store", tmp_path / "mark"
    fill(store_dir, 1, layout)
    (adapter,) = store_dir.rglob("*.safetensors")
    bomb = adapter.parent / f"adapter_model{suffix}"
    bomb.write_bytes(pickle.dumps(_Bomb(mark)))
    assert [damage.file for damage in verify_store(store_dir)]
    with (
        pytest.raises(
            ValueError, match=f"adapter_model{suffix}: a pickle can run code .* delete it"
        ),
        open_store(store_dir, mode="read") as store,
    ):
        store.get_many(["doc 0"])
    bomb.rename(store_dir / bomb.name)
    with pytest.raises(ValueError, match="a pickle can run code"):
        open_store(store_dir, mode="read")
    assert not mark.exists()
    pickle.loads((store_dir / bomb.name).read_bytes())
    assert mark.exists(), "the bomb is none"


def test_what_was_repaired_does_not_come_back(tmp_path: Path) -> None:
    rows = fill(tmp_path, 3)
    _overwrite(SHARD, 4096 + 10, b"!")(tmp_path)
    repair_store(tmp_path)
    with open_store(tmp_path, RECIPE, mode="write") as store:
        assert sorted(store.ids()) == ["doc 1", "doc 2"]
        assert "doc 0" not in store
        put(store, "doc 0", adapters(1)[0], "another text")
        assert torch.equal(store.get_many(["doc 0"])[0], rows[0])
