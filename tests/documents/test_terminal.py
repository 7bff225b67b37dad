"""Texts that are shown in a terminal."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from prag_lightning.documents.terminal import plain_text, without_controls

HOSTILE = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[2J\x1b[1;1Hgone", "gone"),
    ("\x9b31mred", "red"),
    ("\x1b]52;c;cm0gLXJm\x07copied", "copied"),
    ("\x1b]0;title\x1b\\after", "after"),
    ("\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bPq#0\x1b\\picture", "picture"),
    ("\x9d0;title\x9cafter", "after"),
    ("\x1b]0;never ended", "0;never ended"),
    ("Caf\x9d\x98 as Latin-1", "Caf as Latin-1"),
    ("\x1bcreset", "reset"),
    ("\x1b(0lines", "lines"),
    ("a\x1b", "a"),
    ("a\x00b\x07c\x08d\x7fe\x85f", "abcdef"),
    ("new\rold", "newold"),
    ("line\r\nline\tend", "line\nline\tend"),
    ("\u202egnp.exe", "gnp.exe"),
    ("\ud83d half", " half"),
    ("Zürich 東京 दिल्ली \U0001f355 [b]", "Zürich 東京 दिल्ली \U0001f355 [b]"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_a_terminal_gets_nothing_to_obey(text: str, shown: str) -> None:
    assert without_controls(text) == shown
    # Whatever is put together from what was taken apart is safe, too.
    assert without_controls(without_controls(text)) == shown


@pytest.mark.parametrize(
    "text", ["[down_proj]", "[/]", "[/red]", "[link=x]y", "a\\", "\\[b]", "]["]
)
def test_brackets_in_a_table_are_no_markup(text: str) -> None:
    table = Table("column")
    table.add_row(plain_text(text))
    console = Console(file=io.StringIO(), width=40)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    assert text in console.file.getvalue()


def test_a_text_of_several_lines_is_one_in_a_table() -> None:
    assert plain_text("a\nb\t c").plain == "a b c"
