"""Layouts of a user's own."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store.base import AdapterStore
from prag_lightning.adapters.store.layouts import SHIPPED
from prag_lightning.adapters.store.opening import (
    forecast_bytes,
    open_store,
    repair_store,
    verify_store,
)
from tests.adapters.store.store_world import RECIPE, adapters, put

PAGE = Path(__file__).parents[3] / "docs/extending/store_layout.md"
CLASS_PATH = "my_layouts.OneFileEach"


@pytest.fixture
def my_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's example as a module that can be imported; return its code."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "my_layouts.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield code
    forget()


def forget() -> None:
    """Be a process that has not imported the module."""
    sys.modules.pop("my_layouts", None)
    AdapterStore.layouts.pop("one_file_each", None)


def test_a_layout_of_15_lines_keeps_what_a_store_promises(my_layouts: str, tmp_path: Path) -> None:
    body = my_layouts[my_layouts.index("class") :]
    assert len([line for line in body.splitlines() if line]) <= 15
    rows, root = adapters(4), tmp_path / "store"
    with open_store(root, RECIPE, layout=CLASS_PATH, mode="write") as store:
        store.put_many(["a/../b", "ä", "c"], rows[:3], ["1", "2", "3"])
        put(store, "c", rows[0], "3")
        put(store, "ä", rows[3], "another text")
        store.delete(["a/../b"])
        with pytest.raises(ValueError, match="no adapter of 'stranger'"):
            store.get_many(["c", "stranger"])
    # By its name, for it has been imported, and without any.
    for layout in ("one_file_each", "packed"):
        with open_store(root, RECIPE, layout=layout, mode="read") as store:
            assert sorted(store.ids()) == ["c", "ä"]
            assert len(store) == 2
            assert torch.equal(store.get_many(["c", "ä"]), rows[[2, 3]])
            assert store.text_digests(["ä", "b"]) == {"ä": "another text"}
            assert store.manifest.layout == "one_file_each"
    assert verify_store(root) == []
    assert forecast_bytes(RECIPE, CLASS_PATH, "float32", 3) == 3 * 4 * RECIPE.layout.num_params
    with pytest.raises(ValueError, match="layout: the store has 'one_file_each'"):
        open_store(root, RECIPE, mode="write")


def test_a_damaged_adapter_of_such_a_layout_is_found_and_taken_out(
    my_layouts: str, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    with open_store(root, RECIPE, layout=CLASS_PATH, mode="write") as store:
        store.put_many(["a", "b"], adapters(2), ["1", "2"])
        layout = type(store)

    class Careful(layout):  # type: ignore[misc,valid-type]
        name = "one_file_each"

        def _read(self, documents):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if any(document.id == "a" for document in documents):
                raise ValueError("damaged")
            return super()._read(documents)

    assert [damage.document_id for damage in verify_store(root, Careful)] == ["a"]
    assert [damage.document_id for damage in repair_store(root, Careful)] == ["a"]
    with open_store(root, mode="read") as store:
        assert list(store.ids()) == ["b"]


def test_nothing_is_imported_because_a_manifest_says_so(my_layouts: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    open_store(root, RECIPE, layout=CLASS_PATH, mode="write").close()
    forget()
    with pytest.raises(ValueError, match=r"layout 'one_file_each', which is not one of ours"):
        open_store(root, mode="read")
    assert "my_layouts" not in sys.modules
    open_store(root, layout=CLASS_PATH, mode="read").close()
    forget()
    assert "not one of ours" in verify_store(root)[0].what
    assert verify_store(root, CLASS_PATH) == []


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("pakced", "there is no layout 'pakced'; did you mean 'packed'?"),
        ("os.path", "layout 'os.path' does not derive from AdapterStore"),
        ("no_such_module.Store", r"'no_such_module.Store' cannot be imported: No module named"),
        ("collections.abc.Sized", "does not derive from AdapterStore"),
        ("../x", "there is no layout '../x'; there are .*packed, peft"),
        ("prag_lightning.adapters.store.base.AdapterStore", "the layout AdapterStore has no name"),
    ],
)
def test_what_is_no_layout_is_refused(tmp_path: Path, layout: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(tmp_path, RECIPE, layout=layout, mode="write")
    assert list(tmp_path.iterdir()) == []


def test_the_layouts_of_the_package_are_known() -> None:
    assert {layout.name for layout in SHIPPED} == {"packed", "peft"} <= AdapterStore.layouts.keys()
