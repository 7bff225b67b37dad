"""Files of a command that appear together."""

import json
from pathlib import Path

import pytest

from prag_lightning.documents.output_folder import OutputFolder
from prag_lightning.documents.writing import write_whole


def fill(folder: Path, *names: str) -> list[str]:
    """Write files as a command does, and return what is said of earlier ones."""
    with OutputFolder(folder, {"format": "x"}) as output:
        for name in names:
            write_whole(output.path_of(name), name)
    return output.notes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together_when_the_block_ends(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, {"format": "x"}) as output:
        write_whole(output.path_of("a"), "a")
        assert not (tmp_path / "a").exists()
    assert names(tmp_path) == ["a", "origin.json"]
    assert json.loads((tmp_path / "origin.json").read_text()) == {"format": "x", "files": ["a"]}


def _fail(folder: Path, error: type[BaseException]) -> None:
    with OutputFolder(folder, {}) as output:
        write_whole(output.path_of("a"), "new")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_former_files_or_no_folder(
    tmp_path: Path, error: type[BaseException]
) -> None:
    fill(tmp_path / "used", "a", "b")
    for name in ("used", "new"):
        with pytest.raises(error):
            _fail(tmp_path / name, error)
    assert names(tmp_path) == ["used"]
    assert names(tmp_path / "used") == ["a", "b", "origin.json"]
    assert (tmp_path / "used" / "a").read_text() == "a"


def test_only_files_of_earlier_runs_are_replaced_and_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert fill(tmp_path, "a", "b") == []
    assert fill(tmp_path, "a", "c") == [
        "the files of an earlier run are replaced",
        "removed, for this run has none: b",
    ]
    assert names(tmp_path) == ["a", "c", "mine", "origin.json"]
    with pytest.raises(ValueError, match="mine: is there already, and not from this command; move"):
        fill(tmp_path, "a", "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_run_that_was_killed_while_files_moved_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a", "b")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "d":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path, "c", "d")
    assert names(tmp_path) == ["a", "b", "c", "origin.json"]
    fill(tmp_path, "c", "d")
    assert names(tmp_path) == ["c", "d", "origin.json"]


def test_what_a_killed_run_left_is_not_taken_for_new(tmp_path: Path) -> None:
    (tmp_path / ".new").mkdir()
    (tmp_path / ".new" / "left").write_text("half")
    fill(tmp_path, "a")
    assert names(tmp_path) == ["a", "origin.json"]


def test_two_runs_do_not_write_into_one_folder_at_once(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, {}) as output:
        write_whole(output.path_of("a"), "first")
        with pytest.raises(ValueError, match="another command is writing into it; wait for its"):
            fill(tmp_path, "a")
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"files": 1}', b'{"files": [1]}', b"\xff", b"[" * 100_000]
    # Names that lead out of the folder.
    + [json.dumps({"files": [name]}).encode() for name in ("../out", "/etc/passwd", "..", "")],
)
def test_an_origin_that_is_not_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "origin.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"origin\.json: does not say which files"):
        fill(tmp_path, "a")


def test_a_link_in_the_place_of_the_new_files_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"\.new"):
        fill(tmp_path / "out", "a")
    assert names(tmp_path / "elsewhere") == ["precious"]
