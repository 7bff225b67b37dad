"""Files of settings that are none, or hold what no setting may be: one line and status 2."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from tests.documents.test_yaml_text import BOMB

FILES = {
    "null": ("null\n", "holds nothing; settings are expected"),
    "empty": ("", "holds nothing; settings are expected"),
    "comments": ("# nothing\n", "holds nothing; settings are expected"),
    "a list": ("- a\n", "holds a list; settings are expected"),
    "a word": ("word\n", "holds a str; settings are expected"),
    "a bomb": (BOMB, "holds more than 100,000 values"),
    "brackets": ("model: " + "[" * 9999, "nesting depth"),
    "no YAML": ("a: [", "is no YAML"),
    "no text": ("\udcff", "codec can't decode"),
}
COMMANDS = [["fit"], ["test"], ["sweep", "--over", "rank=2"], ["augment", "template"], ["index"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=2)
    (folder / "augmentations.jsonl").unlink()
    return folder


def line_of(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The only line that a command prints which ends with status 2."""
    try:
        status = main(words)
    except SystemExit as stop:
        status = int(stop.code or 0)
    (line,) = capfd.readouterr().err.splitlines()
    assert status == 2
    return line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(("text", "reason"), FILES.values(), ids=FILES.keys())
def test_a_file_that_holds_no_settings_is_named_by_every_command(
    text: str, reason: str, command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    line = line_of([*command, "--config", str(file)], capfd)
    assert line.startswith(f"prag: {file}: ")
    assert reason in line


def test_no_settings_in_a_file_are_said_before_anything_large_is_imported(tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMB)
    program = (
        "import sys; from prag_lightning.cli.main import main;"
        "status = main(['fit', '--config', 'bomb.yaml']);"
        "sys.exit(1 if {'torch', 'lightning', 'transformers'} & set(sys.modules) else status)"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr


def test_settings_written_out_on_the_command_line_have_the_same_limits(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for command in (["fit"], ["augment", "template"]):
        assert "100,000 values" in line_of([*command, "--config", BOMB], capfd)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"num_qas": None}, 'Parser key "num_qas": Expected int. Got value: None'),
        ({"num_qas": ["a"]}, 'Parser key "num_qas": Expected int'),
        ({"documents": None}, "documents"),
        ({"documents": {"a": 1}}, 'Parser key "documents": Not of type Path'),
        ({"num_qsa": 1}, "does not accept option 'num_qsa'"),
        ({"sampling": None}, "sampling takes settings, a `name: value` each. Got value: None"),
        ({"sampling": 3}, "sampling takes settings"),
        ({"sampling": {"temperature": None}}, "sampling.temperature"),
    ],
    ids=str,
)
def test_a_setting_of_another_type_is_named(
    settings: dict[str, Any],
    reason: str,
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"documents": str(world), **settings}))
    # Nobody answers there: what is not refused ends with another status.
    words = ["augment", "endpoint", "--url", "http://127.0.0.1:9", "--config", str(file)]
    assert reason in line_of(words, capfd)
    assert not (world / "augmentations.jsonl").exists()


def test_a_long_value_does_not_fill_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    line = line_of(["augment", "template", "w", "--num_qas", "x" * 100_000], capfd)
    assert line.startswith('prag augment template: Parser key "num_qas"')
    assert len(line) < 1200
