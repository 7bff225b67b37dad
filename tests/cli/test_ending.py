"""How commands end: one line and a status for everything that can go wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from prag_lightning.cli.main import main
from prag_lightning.encoding.per_document import LostProcessError


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def run(args: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("no\n such value"), 2, "prag: no such value"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "prag: x: No such file"),
        (OSError(28, "No space left on device"), 75, "prag: [Errno 28] No space left"),
        (BlockingIOError("process 7 is writing into this store"), 75, "prag: process 7 is"),
        (BrokenPipeError(32, "the server went away"), 75, "prag: [Errno 32] the server went"),
        (TypeError("a str"), 70, "prag: unforeseen: TypeError: a str (PRAG_TRACEBACK=1 or --tr"),
        (RuntimeError("a\nb"), 70, "prag: unforeseen: RuntimeError: a b (PRAG_TRACEBACK=1"),
        (AssertionError(), 70, "prag: unforeseen: AssertionError: (PRAG"),
        (LostProcessError("process 1 died"), 75, "prag: process 1 died"),
        (MemoryError("all of it"), 75, "prag: there is not enough memory (all of it); free some"),
        (RuntimeError("can't allocate memory: 9 GB"), 75, "prag: there is not enough memory (can"),
        (ImportError("Install s3fs"), 2, "prag: Install s3fs; install it, or choose settings"),
        (ModuleNotFoundError("gone", name="prag_lightning.x"), 70, "prag: unforeseen: Module"),
        (RecursionError("too deep"), 70, "prag: unforeseen: RecursionError: too deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_exception_is_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    monkeypatch.setattr("prag_lightning.cli.ask.run_ask", raising(error))
    assert main(["ask", "Who?"]) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


def test_sigterm_ends_a_command_with_its_status_and_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Lightning's exception is a SystemExit, whose status would be 0.
    monkeypatch.setattr("prag_lightning.cli.ask.run_ask", raising(SIGTERMException()))
    assert main(["ask", "Who?"]) == 143
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--traceback", "ask", "Who?"], ["ask", "Who?", "--traceback"]])
def test_a_traceback_is_shown_to_those_who_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr("prag_lightning.cli.ask.run_ask", raising(TypeError("a str")))
    assert main(words) == 70
    by_option = capsys.readouterr().err.splitlines()
    assert by_option[0].startswith("Traceback")
    assert by_option[-1] == "prag: unforeseen: TypeError: a str"
    monkeypatch.setenv("PRAG_TRACEBACK", "1")
    assert main(["ask", "Who?"]) == 70
    by_variable = capsys.readouterr().err.splitlines()
    assert (by_variable[0], by_variable[-1]) == (by_option[0], by_option[-1])
    monkeypatch.setenv("PRAG_TRACEBACK", "0")
    assert main(["ask", "Who?"]) == 70
    assert len(capsys.readouterr().err.splitlines()) == 1


def prag(
    folder: Path, run_ask: str, reader: str = "cat", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run ``prag ask``, with a body of its own, piped to a reader; the status is that of prag."""
    lines = [
        "import sys, rich",
        "from prag_lightning.cli import ask, main",
        "def run_ask(args):",
        *("    " + line for line in run_ask.splitlines()),
        "    return 0",
        "ask.run_ask = run_ask",
        "sys.exit(main.main(['ask']))",
    ]
    (folder / "program.py").write_text("\n".join(lines), encoding="utf-8")
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" program.py | {reader}; exit "${{PIPESTATUS[0]}}"'],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("function", ["print", "rich.print"])
def test_a_reader_that_has_gone_ends_a_command_quietly(tmp_path: Path, function: str) -> None:
    run_ask = f"for _ in range(99):\n    {function}('word ' * 2_000)"
    done = prag(tmp_path, run_ask, "head -c 10 >/dev/null")
    assert (done.returncode, done.stderr) == (141, b"")
    assert prag(tmp_path, run_ask, "cat >/dev/null").returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_output_cannot_hold_are_replaced(tmp_path: Path, encoding: str) -> None:
    text = "Ä, 東京"
    done = prag(tmp_path, f"print({text!r})", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.rstrip() == text.encode(encoding, errors="replace")
