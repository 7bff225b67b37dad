"""Room for merges on disk."""

import os
from pathlib import Path

import pytest

from prag_lightning.exporting.merge_folders import MergeFolders


def files(text: str, size: int = 100) -> dict[str, bytes]:
    return {"adapter_model.safetensors": text.encode() * size}


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_the_same_files_are_in_the_same_folder_and_others_in_another(tmp_path: Path) -> None:
    folders = MergeFolders(tmp_path, 1000)
    first = folders.put(files("a"))
    assert folders.put(files("a")) == first
    assert folders.put(files("b")) != first
    assert (first / "adapter_model.safetensors").read_bytes() == b"a" * 100
    assert len(names(tmp_path)) == 2


def test_what_a_server_was_given_stays_and_what_finds_no_room_is_refused(tmp_path: Path) -> None:
    folders = MergeFolders(tmp_path, 250)
    kept = [folders.put(files(text)) for text in "ab"]
    with pytest.raises(ValueError, match=r"2 merges of this server leave no room for another"):
        folders.put(files("c"))
    assert names(tmp_path) == sorted(folder.name for folder in kept)
    assert folders.put(files("a")) == kept[0]


def test_merges_of_earlier_servers_make_room_the_longest_unused_first(tmp_path: Path) -> None:
    earlier = MergeFolders(tmp_path, 1000)
    old = [earlier.put(files(text)) for text in "abc"]
    for age, folder in zip((30, 20, 10), old, strict=True):
        os.utime(folder, (1000 - age, 1000 - age))
    del earlier
    later = MergeFolders(tmp_path, 300)
    again = later.put(files("a"))
    assert again == old[0]
    new = later.put(files("d"))
    assert names(tmp_path) == sorted(folder.name for folder in (again, old[2], new))


def test_a_folder_that_a_killed_server_left_half_written_is_not_taken_for_whole(
    tmp_path: Path,
) -> None:
    folders = MergeFolders(tmp_path, 1000)
    folder = folders.put(files("a"))
    folder.rename(tmp_path / f".{folder.name}.tmp")
    (tmp_path / f".{folder.name}.tmp/adapter_model.safetensors").write_bytes(b"half")
    del folders
    assert MergeFolders(tmp_path, 150).put(files("a")) == folder
    assert (folder / "adapter_model.safetensors").read_bytes() == b"a" * 100
    assert names(tmp_path) == [folder.name]


def test_what_others_keep_in_the_folder_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/letter.txt").write_text("Dear Ada" * 100)
    earlier = MergeFolders(tmp_path, 1000)
    old = earlier.put(files("a"))
    del earlier
    new = MergeFolders(tmp_path, 150).put(files("b"))
    assert names(tmp_path) == sorted([new.name, "letters"])
    assert not old.exists()
    assert (tmp_path / "letters/letter.txt").exists()


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    first = MergeFolders(tmp_path, 1000)
    with pytest.raises(ValueError, match="another server keeps its merges here; set PRAG_VLLM_CAC"):
        MergeFolders(tmp_path, 1000)
    del first
    MergeFolders(tmp_path, 1000)
