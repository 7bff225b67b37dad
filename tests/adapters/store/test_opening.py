"""What both layouts of a store promise to those who use them as they should."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.opening import forecast_bytes, open_store, verify_store
from prag_lightning.adapters.store.recipe import StoreDtype
from tests.adapters.store.store_world import FORMS, LAYOUTS, RECIPE, adapters, fill, names, put

TARGETS = RECIPE.lora.target_modules
# The same letter in one and in two code points; PATH tricks; reserved names; no letters at all.
STRANGE_IDS = [
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    ".",
    "..",
    "CON",
    " ",
    "\n",
    "null",
    "1",
    "01",
    "Doc",
    "doc",
    "DOC",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "👩‍🔬",
    "\u2028",
    "a\x00b",
    "x" * 10_000,
    "x" * 10_001,
    '{"id": 1}',
    "'; DROP TABLE adapters; --",
]


@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_what_was_put_is_got_in_any_order_by_the_writer_and_by_a_reader(
    tmp_path: Path, layout: str, dtype: StoreDtype
) -> None:
    rows = adapters(5)
    rounded: dict[StoreDtype, Callable[[Tensor], Tensor]] = {
        "bfloat16": lambda row: row.bfloat16().float(),
        "float16": lambda row: row.half().float(),
    }
    expected = rounded[dtype](rows) if dtype in rounded else rows
    tolerance = rows.abs().max() / 127 / 2 if dtype == "int8" else 0.0
    with open_store(tmp_path, RECIPE, layout=layout, dtype=dtype, mode="write") as store:
        for document_id, row in zip(names(5), rows, strict=True):
            put(store, document_id, row, f"text of {document_id}")
        written = store.get_many(["doc 3", "doc 0", "doc 3"])
    with open_store(tmp_path, RECIPE, mode="read") as store:
        read = store.get_many(["doc 3", "doc 0", "doc 3"])
        assert sorted(store.ids()) == names(5)
        assert len(store) == 5
        assert store.text_digest("doc 2") == "text of doc 2"
        assert store.text_digest("doc 9") is None
        assert "doc 2" in store
        assert "doc 9" not in store
        assert store.get_many([]).shape == (0, rows.shape[1])
    assert torch.equal(written, read)
    assert read.dtype == torch.float32
    assert (read - expected[[3, 0, 3]]).abs().max() <= tolerance
    assert not torch.equal(read[0], read[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_that_is_opened_again_goes_on_where_it_stopped(tmp_path: Path, layout: str) -> None:
    rows = adapters(9)
    for start in (0, 3, 6):
        with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
            assert len(store) == start
            ids = names(9)[start : start + 3]
            store.put_many(ids, rows[start : start + 3], ["text"] * 3)
    with open_store(tmp_path, mode="read") as store:
        assert torch.equal(store.get_many(names(9)), rows)
    assert verify_store(tmp_path) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_are_data_and_never_paths(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "outer" / "store"
    rows = adapters(len(STRANGE_IDS))
    with open_store(root, RECIPE, layout=layout, mode="write") as store:
        for document_id, row in zip(STRANGE_IDS, rows, strict=True):
            assert document_id not in store
            put(store, document_id, row, "text")
    with open_store(root, mode="read") as store:
        assert sorted(store.ids()) == sorted(STRANGE_IDS)
        assert torch.equal(store.get_many(STRANGE_IDS), rows)
    assert verify_store(root) == []
    assert [path.name for path in tmp_path.rglob("*") if root not in path.parents] == [
        "outer",
        "store",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(ids=st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_any_text_is_an_id(
    tmp_path_factory: pytest.TempPathFactory, layout: str, ids: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    rows = adapters(len(ids))
    with open_store(folder, RECIPE, layout=layout, mode="write") as store:
        store.put_many(ids, rows, ["text"] * len(ids))
    with open_store(folder, mode="read") as store:
        assert sorted(store.ids()) == sorted(ids)
        assert torch.equal(store.get_many(ids), rows)


@pytest.mark.parametrize("document_id", ["", "half of a letter: \ud83d"])
def test_an_id_that_is_no_text_is_refused(tmp_path: Path, document_id: str) -> None:
    with (
        open_store(tmp_path, RECIPE, mode="write") as store,
        pytest.raises(ValueError, match="is empty or not Unicode text"),
    ):
        put(store, document_id, adapters(1)[0], "text")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_text_is_stored_once(tmp_path: Path, layout: str) -> None:
    first, second = adapters(2)
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        put(store, "a", first, "text")
        put(store, "a", second, "text")
        store.put_many(["b", "b"], torch.stack([first, second]), ["text", "text"])
        assert len(store) == 2
        assert torch.equal(store.get_many(["a", "b"]), torch.stack([first, first]))


def test_another_layout_or_type_of_numbers_is_refused_by_a_writer_only(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(
        ValueError, match="layout: the store has 'packed', this run asks for 'peft'"
    ):
        open_store(tmp_path, RECIPE, layout="peft", mode="write")
    with pytest.raises(ValueError, match=r"dtype: the store has 'float32', .*'int8'"):
        open_store(tmp_path, RECIPE, dtype="int8", mode="write")
    open_store(tmp_path, RECIPE, layout="peft", dtype="int8", mode="read").close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_documents_that_are_not_stored_are_named(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, 1, layout)
    with open_store(tmp_path, mode="read") as store:
        with pytest.raises(ValueError, match="no adapter of 'x', 'y'; encode them"):
            store.get_many(["x", "doc 0", "y", "x"])
        with pytest.raises(ValueError, match="'m4' and 3 more"):
            store.get_many([f"m{number}" for number in range(8)])


@pytest.mark.parametrize(
    ("layout", "dtype", "number"),
    [(*form, float("nan")) for form in FORMS]
    + [("packed", "float16", 1e6), ("peft", "float16", 1e6), ("packed", "int8", float("inf"))],
)
def test_numbers_that_are_not_finite_in_the_stored_type_are_refused(
    tmp_path: Path, layout: str, dtype: StoreDtype, number: float
) -> None:
    rows = adapters(2)
    rows[1, 7] = number
    with open_store(tmp_path, RECIPE, layout=layout, dtype=dtype, mode="write") as store:
        put(store, "good", rows[0], "text")
        with pytest.raises(ValueError, match=f"not finite in {dtype}"):
            put(store, "bad", rows[1], "text")
        assert list(store.ids()) == ["good"]
    assert verify_store(tmp_path) == []


def test_an_adapter_of_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    row = adapters(1)[0]
    with open_store(tmp_path, RECIPE, mode="write") as store:
        with pytest.raises(ValueError, match=r"shape \(1, 63\) .* expected \(1, 64\)"):
            put(store, "a", row[1:], "text")
        with pytest.raises(ValueError, match=r"in torch.float64, .* in torch.float32"):
            put(store, "a", row.double(), "text")


def test_a_store_that_is_open_for_reading_takes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with (
        open_store(tmp_path, mode="read") as store,
        pytest.raises(ValueError, match="open it with mode='write'"),
    ):
        put(store, "new", adapters(1)[0], "text")


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no store here; `prag fit` makes one"):
        open_store(tmp_path, mode="read")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'thesis.txt' but no manifest\.json"):
        open_store(tmp_path, RECIPE, mode="write")


def test_int8_as_peft_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'peft' stores no int8; choose dtype float32, bfloat16"):
        open_store(tmp_path, RECIPE, layout="peft", dtype="int8", mode="write")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_store_is_read_through_any_url(tmp_path: Path, layout: str, scheme: str) -> None:
    rows = fill(tmp_path / "store", 5, layout)
    url = f"{scheme}://{tmp_path / 'copy'}"
    fs, root = fsspec.url_to_fs(url)
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            fs.makedirs(f"{root}/{path.parent.relative_to(tmp_path / 'store')}", exist_ok=True)
            fs.pipe_file(f"{root}/{path.relative_to(tmp_path / 'store')}", path.read_bytes())
    with open_store(url, RECIPE, mode="read") as store:
        assert torch.equal(store.get_many(["doc 4", "doc 1"]), rows[[4, 1]])
        assert sorted(store.ids()) == names(5)
        assert verify_store(url) == []
        assert store.stats().num_documents == 5


def test_a_disk_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written \(Not a directory\); give a folder"):
        open_store(tmp_path / "file" / "store", RECIPE, mode="write")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_reading_and_verifying_write_nothing(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, 3, layout)

    def state() -> list[tuple[Path, int]]:
        return sorted((path, path.stat().st_mtime_ns) for path in [tmp_path, *tmp_path.rglob("*")])

    before = state()
    with open_store(tmp_path, RECIPE, mode="read") as store:
        store.get_many(names(3))
        assert verify_store(tmp_path) == []
        store.stats()
    assert state() == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_that_desktops_leave_in_folders_are_passed_over(tmp_path: Path, layout: str) -> None:
    rows = fill(tmp_path, 3, layout)
    for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
        for name in (".DS_Store", "._000000.jsonl", "notes.safetensors", "index-of-all.txt"):
            (folder / name).write_text("what a desktop writes")
    assert verify_store(tmp_path) == []
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as store:
        assert sorted(store.ids()) == names(3)
        assert torch.equal(store.get_many(names(3)), rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_closed_store_says_that_it_is_closed(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, 2, layout)
    store = open_store(tmp_path, RECIPE, layout=layout, mode="write")
    store.close()
    store.close()
    for use in (
        lambda: store.get_many(["doc 0"]),
        lambda: "doc 0" in store,
        lambda: list(store.ids()),
        lambda: put(store, "doc 2", adapters(1)[0], "text"),
        lambda: store.delete(["doc 0"]),
    ):
        with pytest.raises(ValueError, match="this store is closed; open it again"):
            use()


def test_a_run_folder_is_no_store_but_its_store_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "first run" / "adapters", 1)
    with pytest.raises(FileNotFoundError, match=r"no store here; that of this run is .*/adapters$"):
        open_store(tmp_path / "first run", mode="read")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stats_count_documents_and_bytes(tmp_path: Path, layout: str) -> None:
    fill(tmp_path, 3, layout)
    with open_store(tmp_path, mode="read") as store:
        stats = store.stats()
    assert stats.num_documents == 3
    assert stats.num_bytes == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert stats.bytes_per_document == stats.num_bytes / 3
    assert stats.manifest.recipe == RECIPE


@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_the_forecast_is_what_the_disk_then_holds(
    tmp_path: Path, layout: str, dtype: StoreDtype
) -> None:
    modules = (("model.layers.0.mlp.down_proj", 20_000, 20_000),)
    lora = LoraConfig(target_modules=("down_proj",))
    recipe = RECIPE.model_copy(update={"modules": modules, "lora": lora})
    rows = torch.zeros(50, recipe.layout.num_params)
    ids = [f"a document's id {number:05d}" for number in range(50)]
    with open_store(tmp_path, recipe, layout=layout, dtype=dtype, mode="write") as store:
        store.put_many(ids, rows, ["0" * 32] * 50)
    blocks = sum(path.lstat().st_blocks * 512 for path in tmp_path.rglob("*"))
    forecast = forecast_bytes(recipe, layout, dtype, 50)
    assert forecast == pytest.approx(blocks, rel=0.03)


def test_a_finished_shard_is_a_safetensors_file(tmp_path: Path) -> None:
    rows = fill(tmp_path, 4)
    (shard,) = tmp_path.glob("writer-*/*.safetensors")
    assert torch.equal(safetensors.torch.load_file(shard)["adapters"], rows)
