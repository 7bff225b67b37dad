"""The table of a sweep."""

import io
from pathlib import Path

from rich.console import Console

from prag_lightning.cli.sweep.results import result_table
from prag_lightning.documents.records import write_records
from prag_lightning.evaluation.run_result import RunResult
from prag_lightning.evaluation.scores import summarize
from tests.evaluation.report.predictions import predictions


def shown(result: RunResult, folder: Path) -> str:
    """The table of one run as a terminal of 120 columns shows it."""
    console = Console(file=io.StringIO(), width=120)
    console.print(result_table([result], [folder]))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_values_in_brackets_and_with_controls_are_shown_as_text(tmp_path: Path) -> None:
    swept = {"model.lora.target_modules": "[down_proj]", "data.template": "\x1b[31ma[/b]"}
    table = shown(RunResult(digest="0", swept=swept, status="done"), tmp_path)
    assert "[down_proj]" in table
    assert "a[/b]" in table
    assert "\x1b" not in table


def test_the_table_names_its_measure_and_gives_intervals(tmp_path: Path) -> None:
    made = predictions({"prag": [1.0, 0.0] * 10, "rag": [1.0] * 20})
    write_records(tmp_path / "predictions.jsonl", made)
    result = RunResult(digest="0", swept={"a": "1"}, status="done", scores=summarize(made))
    table = shown(result, tmp_path)
    assert "Exact match over all questions" in table
    # 1.96 times the square root of 0.5 * 0.5 / 20 is 0.22.
    assert "0.500 \u00b10.2" in table
    assert "1.000 \u00b10.00" in table
    assert "± is half of its 95% interval, by bootstrap over questions" in " ".join(table.split())


def test_without_predictions_there_are_scores_without_intervals(tmp_path: Path) -> None:
    scores = summarize(predictions({"prag": [1.0, 0.0]}))
    table = shown(RunResult(digest="0", swept={"a": "1"}, status="done", scores=scores), tmp_path)
    assert "0.500 " in table
    assert "0.500 \u00b1" not in table
