"""Formats from outside the package."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prag_lightning.cli.data import convert
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.formats.finding import find_reader
from prag_lightning.documents.records import Document, Question, read_records

PAGE = Path(__file__).parents[2] / "docs" / "extending" / "format.md"
OTHERS = """
from dataclasses import dataclass
from prag_lightning.documents.formats import Entry
from prag_lightning.documents.records import Document

@dataclass
class Lines:
    passage_words: int = 3
    def __call__(self, source):
        yield Entry(documents=(Document(id="d", text=str(self.passage_words)),))

four = Lines(4)
number = 5
"""


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with formats in it that are not on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "my_formats.py").write_text(code)
    (tmp_path / "other_formats.py").write_text(OTHERS)
    yield tmp_path
    for name in ("my_formats", "other_formats"):
        sys.modules.pop(name, None)


def test_the_example_of_the_page_converts_a_file(working_directory: Path) -> None:
    example = (working_directory / "my_formats.py").read_text().strip()
    # The working parts: what it does, without its name and empty lines.
    assert len([line for line in example.splitlines()[1:] if line]) <= 15
    rows = 'id,title,text,question,answer\n1,Ada,"Ada, born in Paris.",Where?,Paris\n'
    (working_directory / "rows.csv").write_text(rows)
    convert("my_formats.read_csv", Path("rows.csv"), Path("data"))
    assert list(read_records("data/documents.jsonl", Document)) == [
        Document(id="1", title="Ada", text="Ada, born in Paris.")
    ]
    assert list(read_records("data/questions.jsonl", Question)) == [
        Question(id="1", question="Where?", answers=["Paris"], document_ids=["1"])
    ]


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("other_formats.Lines", {}, "3"),
        ("other_formats.four", {}, "4"),
        ("other_formats.Lines", {"passage_words": 7}, "7"),
    ],
)
@pytest.mark.usefixtures("working_directory")
def test_a_class_or_an_object_is_a_format_with_settings(
    name: str, settings: dict[str, object], text: str
) -> None:
    [entry] = find_reader(name, settings)(Path())
    assert entry.documents[0].text == text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_formats.read", "format 'no_formats.read' cannot be imported: No module named 'no_for"),
        ("my_formats.read", "cannot be imported: module 'my_formats' has no attribute 'read'"),
        ("other_formats.number", "'other_formats.number' is 5, and no function from a path"),
    ],
)
@pytest.mark.usefixtures("working_directory")
def test_what_is_no_format_is_told(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        find_reader(name, {})


def test_a_library_s_name_in_the_working_directory_does_not_hide_the_library(
    working_directory: Path,
) -> None:
    (working_directory / "colorsys.py").write_text("raise AssertionError")
    with pytest.raises(ValueError, match="module 'colorsys' has no attribute 'read'"):
        find_reader("colorsys.read", {})


def test_the_shipped_formats_are_found_by_their_names() -> None:
    assert [find_reader(name, {}) for name in FORMATS] == list(FORMATS.values())
