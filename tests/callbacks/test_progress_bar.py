"""What a run says of its progress: lines in a file, bars on a terminal."""

import io
import re
import sys
from pathlib import Path
from time import perf_counter, sleep

import pytest
from rich.console import Console

from prag_lightning.callbacks import progress_bar
from prag_lightning.callbacks.progress_bar import Work, _Bars, _Lines
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def percentages(text: str) -> list[int]:
    return [int(number) for number in re.findall(r": (\d+)%", text)]


def test_a_line_comes_at_each_tenth_however_small_the_steps(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work, lines = Work("encoding", "documents", 50, 1000, num_steps=100), _Lines()
    work.begin()
    for step in range(100):
        clock[0] += 0.5
        work.advance(step % 2, 10)
        lines.show(work)
    said = capsys.readouterr().err
    assert percentages(said) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    first, *_, last = said.splitlines()
    rate = "20 tokens/s"
    assert first == f"encoding: 10%, 5 of 50 documents, step 10 of 100, {rate}, 45 s to come"
    assert last == f"encoding: 100%, 50 of 50 documents, step 100 of 100, {rate}"


def test_a_slow_run_says_something_every_half_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work, lines = Work("encoding", "documents", 1, 100_000, num_steps=1000), _Lines()
    work.begin()
    for _ in range(30):
        clock[0] += 10
        work.advance(0, 100)
        lines.show(work)
    assert percentages(capsys.readouterr().err) == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3]


def test_a_step_of_minutes_does_not_keep_a_file_silent(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "_TICK_SECONDS", 0.01)
    work, lines = Work("rag", "questions", 8, 8), _Lines()
    work.begin()
    lines.begin(work)
    for seconds in (40, 80):
        clock[0] += 40
        expected = f"rag: 0%, 0 of 8 questions, the first step has taken {seconds} s so far\n"
        said, deadline = "", perf_counter() + 20
        while said != expected and perf_counter() < deadline:
            sleep(0.01)
            said += capsys.readouterr().err
        assert said == expected
    work.advance(8, 8)
    lines.show(work)
    assert percentages(capsys.readouterr().err) == [100]
    clock[0] += 1000
    sleep(0.1)
    lines.end()
    assert capsys.readouterr().err == ""


def test_an_estimate_that_is_too_small_does_not_end_a_run_early() -> None:
    work = Work("encoding", "documents", 2, 10, num_steps=3)
    shares = []
    for _ in range(3):
        work.advance(1, 9)
        shares.append(work.share)
    assert shares == [0.9, 0.99, 1.0]


def test_bars_hold_the_same_words_and_no_colour_means_no_escape(clock: list[float]) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=200)
    bars, work = _Bars(console), Work("own", "questions", 4, 4)
    work.begin()
    clock[0] += 2
    work.advance(1, 1)
    bars.show(work)
    bars.end()
    text = file.getvalue()
    assert "1 of 4 questions, 0.5 questions/s, 6 s to come" in text
    # Movements of the cursor, but neither colours nor bold.
    assert not re.search(r"\x1b\[[\d;]*m", text)


def test_fit_and_test_say_in_a_file_how_far_they_are_before_what_came_of_it(
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_world(tmp_path / "world", num_people=6)
    options = [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / "run")),
        *("--model.base", str(base_dir), "--model.num_slots", "2", "--model.max_new_tokens", "2"),
        *("--data.folder", str(tmp_path / "world"), "--data.question_batch_size", "4"),
    ]
    # One file for both, as behind 2>&1.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    assert main(["fit", *options]) == 0
    said = capsys.readouterr().out
    assert percentages(said)[-1] == 100
    assert len(percentages(said)) >= 9
    assert re.search(r"encoding: \d+%, \d of 6 documents, step \d+ of \d+, .* tokens/s", said)
    assert main(["test", *options, "--data.methods", "closed_book,own"]) == 0
    said = capsys.readouterr().out
    table = said.index("method")
    assert said.rindex("own: 100%, 36 of 36 questions") < table
    assert percentages(said[table:]) == []
    assert progress_bar._MOST_SECONDS == 30
