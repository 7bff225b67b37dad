"""Links, pipes and devices in a stranger's store: none is followed, waited for, or written."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store.export import export_store
from prag_lightning.adapters.store.opening import open_store, repair_store, verify_store
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, fill, names, put

LOCK = "writer-00000.lock"
SECRET = b"the user's own file\n" * 500
EVERY_FILE = {
    "packed": [
        "manifest.json",
        "writer-00000.lock",
        "writer-00000/*.safetensors",
        "writer-00000/*.jsonl",
    ],
    "peft": ["manifest.json", LOCK, "documents/*/*/adapter_model.safetensors"],
}
EVERY_FILE["packed"] += ["writer-00000/index-*", "writer-00000"]
EVERY_FILE["peft"] += ["documents/*/*/document.json", "documents/*/*", "documents/*", "documents"]


def everything(folder: Path, layout: str) -> list[Callable[[], object]]:
    """Return all that one can do with a store."""

    def read() -> None:
        with open_store(folder, mode="read") as store:
            store.get_many(["doc 0"])

    def write() -> None:
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            put(store, "doc 0", adapters(1, seed=1)[0], "another text")
            put(store, "doc 9", adapters(1, seed=2)[0], "text")

    def export() -> None:
        with open_store(folder, mode="read") as store:
            export_store(store, folder.parent / "copy")

    return [read, lambda: verify_store(folder), lambda: repair_store(folder), write, export]


def refused(folder: Path, layout: str) -> list[str]:
    """Return what is said where something is refused."""
    refusals: list[str] = []
    for do in everything(folder, layout):
        try:
            do()
        except (ValueError, FileNotFoundError) as error:
            refusals.append(str(error))
    return refusals


@pytest.mark.parametrize(
    ("layout", "name"), [(layout, name) for layout in LAYOUTS for name in EVERY_FILE[layout]]
)
def test_a_link_in_a_store_is_never_followed(tmp_path: Path, layout: str, name: str) -> None:
    folder = tmp_path / "store"
    fill(folder, 1, layout)
    (path,) = folder.glob(name)
    # Outside there is what was here, so that only following it could be told.
    target = path.rename(tmp_path / "outside")
    if target.is_file():
        target.write_bytes(target.read_bytes() + (SECRET if name == LOCK else b""))
    path.symlink_to(target)
    before = {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()}
    damages = verify_store(folder)
    assert any("link" in damage.what for damage in damages)
    refusals = refused(folder, layout)
    assert refusals
    assert all("link" in refusal for refusal in refusals)
    assert {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()} == before
    # The config is the same for all documents, also for those that came later.
    secrets = {content for p, content in before.items() if p.name != "adapter_config.json"}
    copies = {p.read_bytes() for p in (tmp_path / "copy").rglob("*") if p.is_file()}
    assert not copies & secrets


def test_temporary_files_that_are_links_are_not_written_through(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        folder, secret = tmp_path / layout, tmp_path / f"secret of {layout}"
        secret.mkdir()
        (secret / "file").write_bytes(SECRET)
        fill(folder, 2, layout)
        (folder / ".unfinished-00000").symlink_to(secret)
        if layout == "packed":
            (folder / "writer-00000/.index.tmp").symlink_to(secret / "file")
            (folder / "writer-00000/.000000.jsonl.tmp").symlink_to(secret / "file")
        with open_store(folder, RECIPE, layout=layout, mode="write") as store:
            put(store, "doc 5", adapters(1)[0], "text")
        assert [path.name for path in secret.iterdir()] == ["file"]
        assert (secret / "file").read_bytes() == SECRET
        assert verify_store(folder) == []


@pytest.mark.parametrize("name", ["manifest.json", LOCK, "writer-00000/000000.jsonl"])
def test_a_pipe_in_a_store_is_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "store"
    fill(folder, 2)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for index in folder.glob("*/index-*"):
        index.unlink()
    assert all(str(folder) in refusal for refusal in refused(folder, "packed"))


def test_the_store_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    rows = fill(tmp_path / "disk" / "store", 2)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "store")
    with open_store(tmp_path / "link", RECIPE, mode="write") as store:
        assert torch.equal(store.get_many(names(2)), rows)
        put(store, "doc 2", rows[0], "text")
    assert verify_store(tmp_path / "link") == []
