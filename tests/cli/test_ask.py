"""What ``prag ask`` prints of documents that say more than text to a terminal."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from prag_lightning.answering.answers import Answer, Evidence
from prag_lightning.cli.ask import _questions, _show
from prag_lightning.cli.main import main
from prag_lightning.documents.records import Document
from prag_lightning.documents.terminal import open_console

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[31m[bold]x[/bold]\x1b[0m\x9b2J"


def shown(color_system: Any = None) -> str:
    name = f"d{HOSTILE}"
    answer = Answer(
        question_id="q",
        method="prag",
        question="Who?",
        text=HOSTILE,
        prediction=HOSTILE,
        passages=[],
        adapters=[Evidence(document_id=name, score=1.0, weight=1.0)],
        missing=[Evidence(document_id=f"m{HOSTILE}", score=0.5, weight=0.0)],
    )
    texts = {name: HOSTILE, f"m{HOSTILE}": HOSTILE}
    documents = {key: Document(id=key, text=text) for key, text in texts.items()}
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=color_system, width=100)
    _show(console, [answer], cast(Any, SimpleNamespace(documents=documents)), "")
    return file.getvalue()


def test_nothing_in_a_document_is_obeyed_by_the_terminal() -> None:
    text = shown()
    assert "d[bold]x[/bold]" in text
    assert "without an adapter: m[bold]x[/bold]" in text
    assert not set(text) & set("\x1b\x9b\x07")
    # What rich adds itself comes through.
    assert "\x1b[1m" in shown("standard")


def test_no_color_takes_away_colours_and_bold_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for no_color, bold in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_color)
        console = open_console()
        with console.capture() as capture:
            console.print("[bold red]word")
        assert ("\x1b[" in capture.get()) == bold


def test_a_session_needs_no_first_question(capsys: pytest.CaptureFixture[str]) -> None:
    # That the run is missing is said after the words are understood.
    words = ["ask", "--interactive", "--methods", "prag,rag", "--run", "nowhere"]
    assert main(words) == 2
    assert "nowhere/fit.yaml: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["exit\n", "quit\n", ""])
def test_an_empty_line_asks_nothing_and_ends_nothing(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = f"Who?\n\n   \n Where? \n{end}"
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert list(_questions("When?", interactive=True)) == ["When?", "Who?", "Where?"]
    # Without --interactive nobody is asked for more.
    assert list(_questions("When?", interactive=False)) == ["When?"]
