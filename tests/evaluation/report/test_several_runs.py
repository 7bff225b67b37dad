"""Several runs on one page: sweeps, and runs side by side."""

import re
from pathlib import Path

import pytest

from prag_lightning.cli.main import main
from prag_lightning.evaluation.report.comparison import Columns
from prag_lightning.evaluation.report.overview import make_overview
from prag_lightning.evaluation.report.overview_figures import overview_figures
from prag_lightning.evaluation.report.sweep_folder import read_runs
from prag_lightning.evaluation.run_result import RunResult, write_result
from tests.evaluation.report.predictions import prediction, predictions
from tests.evaluation.report.run_folders import write_run, write_sweep

NONE, HALF, ALL = [0.0] * 20, [0.0, 1.0] * 10, [1.0] * 20
GRID = {
    ("10", "sum"): ALL,
    ("10", "mean"): HALF,
    ("2", "sum"): HALF,
    ("2", "mean"): NONE,
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep of two by two."""
    return write_sweep(tmp_path_factory.mktemp("runs"), GRID)


def test_runs_of_a_sweep_are_sorted_by_its_settings_numbers_by_size(sweep: Path) -> None:
    labels = [run.label for run in read_runs([sweep])]
    assert labels == [
        "rank 2, merge mean",
        "rank 2, merge sum",
        "rank 10, merge mean",
        "rank 10, merge sum",
    ]
    assert [run.label for run in read_runs([sweep.parent])] == labels
    assert [run.label for run in read_runs([sweep / "rank=2,merge=sum"])] == labels[1:2]


def test_a_sweep_is_one_page_with_the_comparison_first(sweep: Path, tmp_path: Path) -> None:
    output = tmp_path / "sweep.html"
    assert main(["report", str(sweep), "--output", str(output)]) == 0
    page = output.read_text(encoding="utf-8")
    articles = re.findall(r'<article id="([^"]*)"', page)
    assert articles == ["comparison", "run0", "run1", "run2", "run3"]
    assert "4 runs beside each other" in page
    # Every run has its row: rank, rule and the F1 of prag.
    comparison = page[: page.index('<article id="run0"')]
    table = comparison[comparison.index("F1 over all questions") :]
    rows = re.findall(r"<th>(\d+)</th><th>(\w+)</th>.*?</tr>", table, re.DOTALL)
    assert rows == [("2", "mean"), ("2", "sum"), ("10", "mean"), ("10", "sum")]
    assert re.findall(r'class="best"><span class="value">([0-9.]+)', table) == ["1.000"]
    names = {file.name for file in (tmp_path / "sweep_figures").iterdir()}
    drawn = ("over-rank", "over-merge", "heat", "runs")
    assert names == {f"{name}.{kind}" for name in drawn for kind in ("svg", "pdf")}
    latex = output.with_suffix(".tex").read_text()
    assert latex.startswith("\\begin{table}")
    assert "10 & sum & 0.000 {\\scriptsize [0.000, 0.000]} & \\textbf{1.000}" in latex
    markdown = output.with_suffix(".md").read_text(encoding="utf-8")
    assert markdown.index("4 runs, F1") < markdown.index("# rank 2, merge mean")
    assert "| 2 | sum | 0.000 (0.000 to 0.000) | 0.500 (" in markdown


def texts(sweep: Path, name: str) -> list[str]:
    """The texts in a figure of a sweep."""
    runs = read_runs([sweep])
    figures = overview_figures(make_overview(runs, [Columns(run.predictions) for run in runs]))
    svg = next(figure.svg() for figure in figures if figure.name == name)
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_figure_shows_a_line_for_each_value_of_the_other_setting(sweep: Path) -> None:
    over_rank = texts(sweep, "over-rank")
    assert {"prag", "merge mean", "merge sum", "rank", "F1", "2", "10"} <= set(over_rank)
    # No setting changes what the bare model says.
    assert "closed_book" not in over_rank
    assert {"rank 2", "rank 10", "mean", "sum"} <= set(texts(sweep, "over-merge"))


def test_a_heat_map_holds_the_score_of_each_run(sweep: Path) -> None:
    cells = [text for text in texts(sweep, "heat") if re.fullmatch(r"\d\.\d{3}", text)]
    assert cells == ["0.000", "0.500", "0.500", "1.000"]


def test_a_run_whose_adapters_another_one_encoded_has_its_settings(sweep: Path) -> None:
    by_label = {run.label: run for run in read_runs([sweep])}
    shared = by_label["rank 10, merge mean"]
    assert shared.setting("fit", "model", "lora", "rank") == 10
    assert not any("fit.yaml" in line for line in shared.missing)
    assert any(f"encoded by {sweep / 'rank=10,merge=sum'}" in line for line in shared.missing)


def test_a_run_that_failed_is_a_row_that_says_why(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, {("2", "sum"): HALF})
    failed = sweep / "rank=4,merge=sum"
    failed.mkdir()
    swept = {"model.lora.rank": "4", "evaluation.merge": "sum"}
    status = "fit failed with status 75: no room"
    write_result(failed, RunResult(digest="0", swept=swept, status=status))
    assert main(["report", str(sweep)]) == 0
    page = (sweep / "report.html").read_text(encoding="utf-8")
    assert "The run was not done: fit failed with status 75: no room." in page
    assert re.search(r"<th>4</th><th>sum</th>|<th>4</th>", page)


def test_runs_that_are_of_no_sweep_stand_side_by_side(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / name, predictions({"prag": f1, "rag": HALF}), {})
        for name, f1 in (("one", HALF), ("two", ALL))
    ]
    assert main(["report", *map(str, folders)]) == 0
    page = (folders[0] / "report.html").read_text(encoding="utf-8")
    assert f"<th>{folders[1]}</th>" in page
    assert {f.name for f in (folders[0] / "report_figures").glob("runs.*")} == {
        "runs.svg",
        "runs.pdf",
    }
    assert not (folders[0] / "report_figures" / "heat.svg").exists()


def test_intervals_over_documents_are_wider_where_their_questions_are_alike(
    tmp_path: Path,
) -> None:
    made = [
        prediction("own", number, float(number < 40)).model_copy(
            update={"document_ids": [f"d{number // 10}"]}
        )
        for number in range(80)
    ]
    folder = write_run(tmp_path / "run", made, {})

    def width(resample: str) -> float:
        assert main(["report", str(folder), "--resample", resample]) == 0
        tables = (folder / "report.md").read_text(encoding="utf-8")
        assert f"percentile bootstrap over {resample}" in tables
        (low, high), *_ = re.findall(r"0\.500 \(([0-9.]+) to ([0-9.]+)\)", tables)
        return float(high) - float(low)

    assert width("documents") > 2 * width("questions")


def test_runs_without_a_score_are_listed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fit.yaml").write_text("data: {folder: demo}")
    assert main(["report", str(tmp_path / "one"), str(tmp_path / "two")]) == 0


def test_a_damaged_result_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = write_sweep(tmp_path, {("2", "sum"): HALF})
    (sweep / "rank=2,merge=sum" / "result.json").write_text('{"digest": 1')
    assert main(["report", str(sweep)]) == 2
    error = capfd.readouterr().err
    assert "result.json: is damaged" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\x00"])
def test_damaged_settings_are_named(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", predictions({"prag": HALF}), {})
    (folder / "test.yaml").write_text(text)
    assert main(["report", str(folder)]) == 2
    error = capfd.readouterr().err
    assert "test.yaml: " in error
    assert "is damaged" in error
    assert len(error.splitlines()) == 1
