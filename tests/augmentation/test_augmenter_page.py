"""The example of docs/extending/augmenter.md, as it stands there."""

import re
import shlex
import sys
from pathlib import Path
from typing import cast

import pytest

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.cli.main import main
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    read_records,
    write_records,
)

_PAGE = Path(__file__).parents[2] / "docs/extending/augmenter.md"


def _blocks(language: str) -> list[str]:
    """Return the page's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_has_at_most_15_lines_and_augments_from_python_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, usage = _blocks("python")
    (command,) = _blocks("bash")
    assert len([line for line in code.splitlines() if line.strip()][1:]) <= 15
    (tmp_path / "my_augmenter.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    # What the command adds to it is taken away at the end.
    monkeypatch.setattr(sys, "path", [*sys.path])
    documents = [Document(id="a", title="Heron", text="A boat.")]
    names: dict[str, object] = {"documents": documents}
    exec(code + usage, names)
    (made,) = cast(list[Augmentation], names["augmentations"])
    assert [pair.question for pair in made.qas] == ["What is Heron?"]
    glossary = names["Glossary"]
    assert isinstance(glossary, type)
    assert issubclass(glossary, Augmenter)
    write_records("my_data/documents.jsonl", documents)
    words = shlex.split(command)
    assert words[0] == "prag"
    assert main(words[1:]) == 0
    (written,) = read_records("my_data/augmentations.jsonl", Augmentation)
    assert [pair.question for pair in written.qas] == ["What does Heron mean?"]
    del sys.modules["my_augmenter"]
