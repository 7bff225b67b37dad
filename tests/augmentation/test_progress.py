"""What is said while a run goes on."""

import io
import time

import pytest
from rich.console import Console

from prag_lightning.augmentation import progress as progress_module
from prag_lightning.augmentation.progress import Progress
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.wording import LIST

_REQUEST = Request("rewrite 1", "prompt", 1)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a line come as soon as there is something to say."""
    monkeypatch.setattr(progress_module, "_SHORTEST_PAUSE_S", 0.0)
    monkeypatch.setattr(progress_module, "_TICK_S", 0.01)


def _wait_for(capsys: pytest.CaptureFixture[str], text: str) -> str:
    said = ""
    for _ in range(200):
        said += capsys.readouterr().err
        if text in said:
            return said
        time.sleep(0.01)
    raise AssertionError(f"'{text}' was not said, but: {said}")


def test_without_a_terminal_there_is_a_line_for_each_tenth(
    fast: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(num_documents=5) as progress:
        progress.expect(20)
        time.sleep(0.05)
        assert capsys.readouterr().err == ""
        for _ in range(2):
            progress.hear("d", _REQUEST, Reply("good"), None)
        assert _wait_for(capsys, "to come").startswith("2 of 20 requests, 0 of 5 documents, about ")
        progress.hear("d", _REQUEST, Reply("good"), None)
        time.sleep(0.05)
        # Half a tenth is no tenth.
        assert capsys.readouterr().err == ""
        progress.finish_document()
        progress.hear("d", _REQUEST, Reply("good"), None)
        _wait_for(capsys, "4 of 20 requests, 1 of 5 documents, about ")


def test_tenths_within_two_seconds_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress_module._SHORTEST_PAUSE_S == 2
    with Progress(num_documents=5) as progress:
        progress.expect(10)
        for _ in range(10):
            progress.hear("d", _REQUEST, Reply("good"), None)
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_line_comes_every_half_minute_though_nothing_is_done(
    fast: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert progress_module._LONGEST_PAUSE_S == 30
    monkeypatch.setattr(progress_module, "_LONGEST_PAUSE_S", 0.05)
    with Progress(num_documents=5) as progress:
        progress.expect(10)
        said = _wait_for(capsys, "after 0 s\n")
    assert said.startswith("0 of 10 requests, 0 of 5 documents after 0 s\n")


def test_without_requests_the_documents_are_counted(
    fast: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(num_documents=10) as progress:
        progress.finish_document()
        _wait_for(capsys, "1 of 10 documents, about ")


def test_the_first_answers_of_no_use_are_shown_at_once_with_what_to_try(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(num_documents=9) as progress:
        request = Request(LIST, "prompt", 1)
        progress.hear("a", request, Reply("fine"), None)
        progress.hear("b", request, Reply("\x1b[31mNo\n" + "way " * 200), "no list")
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith(f"document 'b', {LIST}: no list; the model said: 'No way way")
        assert said[0].endswith("way w...'")
        assert len(said[0]) < 400
        assert said[1] == (
            "  it is asked again; small models do better with --pairs one_by_one and "
            "--sampling.temperature 0.3"
        )
        for _ in range(9):
            progress.hear("c", request, Reply("no"), "no list")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[-1] == "  further answers of no use are only counted"


@pytest.mark.parametrize(
    ("request_", "reply", "problem", "advice"),
    [
        (_REQUEST, Reply("so", is_cut=True), "cut", "--sampling.max_new_tokens allows longer"),
        (_REQUEST, Reply("so"), "it names 1, not in the document", "--grounded false takes it"),
        (
            _REQUEST,
            Reply("", problem="status 400: unknown field top_k"),
            "status 400: unknown field top_k",
            "--sampling.top_k 0",
        ),
        (_REQUEST, Reply("so"), "a refusal", ""),
    ],
)
def test_the_advice_is_for_the_problem(
    request_: Request,
    reply: Reply,
    problem: str,
    advice: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(num_documents=1) as progress:
        progress.hear("a", request_, reply, problem)
    said = capsys.readouterr().err
    assert advice in said
    assert said.count("\n") == (2 if advice else 1)


def test_a_process_for_which_another_speaks_says_nothing(
    fast: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(num_documents=1, is_silent=True) as progress:
        progress.expect(1)
        progress.hear("a", _REQUEST, Reply("so"), "no")
        progress.finish_document()
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_and_the_answers_above_it(
    fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(progress_module, "Console", lambda stderr: screen)
    with Progress(num_documents=2) as progress:
        progress.expect(4)
        progress.hear("a", _REQUEST, Reply("[bold]so"), "no")
        time.sleep(0.3)
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "document 'a', rewrite 1: no; the model said: '[bold]so'" in shown
    assert "1/4" in shown
    assert "requests, 0 of 2 documents" in shown
