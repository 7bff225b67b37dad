"""Which runs there are."""

import os
from pathlib import Path

import pytest
import yaml

from prag_lightning.answering.from_run import default_run_dir, latest_run, read_run


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("demo", "runs/demo"), ("/data/notes/", "runs/notes"), ("a/../b", "runs/b")],
)
def test_a_run_has_the_name_of_its_folder(folder: str, expected: str) -> None:
    assert default_run_dir(folder) == Path(expected)


def test_this_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    assert default_run_dir(".") == Path("runs/notes")


@pytest.mark.parametrize(
    ("before", "folder", "is_refused"),
    [
        ("{here}/a/notes", "b/notes", True),
        ("a/notes", "{here}/b/notes", True),
        ("a/notes", "a/../a/notes", False),
        ("{here}/a/notes", "a/notes", False),
        ("gone/notes", "b/notes", False),
        ("demo", "demo", False),
        ("demo", "a/demo", True),
        ("{here}/a/demo", "demo", True),
    ],
)
def test_two_folders_of_one_name_do_not_share_a_run(
    before: str, folder: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, folder = (text.format(here=tmp_path) for text in (before, folder))
    for there in ("a/notes", "b/notes", "a/demo"):
        Path(there).mkdir(parents=True)
    run = Path("runs", Path(folder).name)
    run.mkdir(parents=True)
    assert default_run_dir(folder) == run
    (run / "fit.yaml").write_text(yaml.safe_dump({"data": {"folder": before}}))
    if is_refused:
        with pytest.raises(ValueError, match=f"^{run} is the run on '.*give this one a --trainer"):
            default_run_dir(folder)
    else:
        assert default_run_dir(folder) == run
    (run / "fit.yaml").write_text("damaged: [")
    assert default_run_dir(folder) == run


def test_the_latest_run_is_the_one_that_encoded_documents_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no run in 'runs' yet; `prag fit`"):
        latest_run()
    for age, name in enumerate(("warmup", "new", "old")):
        file = Path("runs", name, "fit.yaml")
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    assert latest_run() == Path("runs/warmup")
    # It has trained a warm start, and no documents.
    Path("runs/warmup/warm_start").mkdir()
    assert latest_run() == Path("runs/new")


@pytest.mark.parametrize(
    "text",
    ["", "null", "- a\n", "word", "trainer: 1\n", "trainer: {}\nmodel: {lora: null}\n", "a: ["],
)
def test_settings_that_are_damaged_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "fit.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'fit.yaml'}: (holds no sett|is no YAML)"):
        read_run(tmp_path)
