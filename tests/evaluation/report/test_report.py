"""The report as users get it, and as a browser shows it."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import read_records, write_records
from prag_lightning.evaluation.report.template import cell
from prag_lightning.evaluation.scores import Prediction

EVIL = "</style><script>throw new Error('evil ran')</script><img src=x onerror=alert(1)> | *x* `y`"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """Root folder of a run on a world of four people; one prediction is not well-meaning."""
    root = tmp_path_factory.mktemp("runs") / "small"
    write_world(root / "world", num_people=4)
    options = [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "4", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "3", "--data.folder", str(root / "world")),
        *("--trainer.enable_progress_bar", "false"),
    ]
    assert main(["fit", *options, "--data.passes", "2"]) == 0
    assert main(["test", *options, "--data.passes", "2"]) == 0
    first, *rest = read_records(root / "predictions.jsonl", Prediction)
    twin = {"question": EVIL, "prediction": EVIL, "answers": [EVIL]}
    question = first.question_id
    changed = [
        p.model_copy(update={**twin, "em": float(p.method == "prag"), "f1": 0.0})
        if p.question_id == question
        else p
        for p in (first, *rest)
    ]
    write_records(root / "predictions.jsonl", changed)
    return root


def report(*runs: Path) -> tuple[str, str]:
    """Return the page and the tables of some runs."""
    assert main(["report", *map(str, runs)]) == 0
    page, tables = (runs[0] / f"report.{suffix}" for suffix in ("html", "md"))
    return page.read_text(encoding="utf-8"), tables.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(run: Path) -> tuple[str, str]:
    """The page and the tables of the run, which lie in its folder."""
    return report(run)


class Shown(NamedTuple):
    """What a browser made of a page, and what it had to say about it."""

    dom: str
    console: list[str]


def show(page: Path, profile: Path) -> Shown:
    """Open a page in a browser without a window."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command = [browser, *options, "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return Shown(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


class Tables(HTMLParser):
    """Collects the rows of the tables of a class as lists of texts."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._inside = self.name in (dict(attrs).get("class") or "").split()
        elif tag == "tr" and self._inside:
            self.rows.append([])
        elif tag in ("td", "th") and self._inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def numbers(cells: Sequence[str]) -> list[str]:
    """The first number of each cell; what stands behind it is its interval."""
    return [cell.split()[0] if cell.split() else "" for cell in cells]


def test_a_browser_shows_the_numbers_of_scores_json_and_has_nothing_to_complain_about(
    run: Path, written: tuple[str, str], tmp_path: Path
) -> None:
    shown = show(run / "report.html", tmp_path)
    assert shown.console == []
    parser = Tables("scores")
    parser.feed(shown.dom)
    header, *rows = parser.rows
    assert header[:5] == ["method", "questions", "n", "EM", "F1"]
    scores = json.loads((run / "scores.json").read_text())
    assert len(rows) == len(scores) == 24
    method = ""
    for row, score in zip(rows, scores, strict=True):
        method = row[0] or method
        names = ("em", "f1", "precision", "recall", "answer_nll")
        expected = [score["type"], str(score["num_questions"])]
        expected += [f"{score[name]:.3f}" for name in names]
        assert (method, numbers(row)[1:8]) == (score["method"], expected)
    # What a prediction says is text.
    assert "evil ran" in shown.dom
    assert "<script" not in shown.dom
    assert "<img" not in shown.dom


def test_the_browser_would_have_complained_of_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p>text<script>throw new Error('evil ran')</script>")
    shown = show(page, tmp_path / "profile")
    assert any("evil ran" in line for line in shown.console)
    assert "text" in shown.dom


def test_a_page_needs_nothing_besides_itself(written: tuple[str, str]) -> None:
    page, _ = written
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert len(page) < 500_000


def test_a_report_holds_all_that_a_run_left(run: Path, written: tuple[str, str]) -> None:
    page, tables = written
    for part in (
        "Did the documents get into the weights?",
        "Differences on the same questions",
        "Where methods disagree",
        "step within a document</text>",
        "norm of the update</text>",
        "down_proj</text>",
        "peak memory",
        "Mean loss by pass",
        "rank 2, alpha 32",
        "All settings of <code>prag fit</code>",
    ):
        assert part in page, part
    assert "Not in this report" not in page
    assert "prag \N{MINUS SIGN} closed\\_book" in tables
    scores = json.loads((run / "scores.json").read_text())
    nll = next(s for s in scores if (s["method"], s["type"]) == ("own", "all"))["answer_nll"]
    (line,) = re.findall(r"\n\| own \| all \|.*", tables)
    assert f"| {nll:.3f} (" in line


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    for name in ("scores.json", "test.yaml"):
        shutil.copy(run / name, tmp_path)
    page, _ = report(tmp_path)
    for name in ("predictions.jsonl", "fit.yaml", "losses.jsonl", "fit.jsonl"):
        assert f"{name} is missing" in page
    assert "The adapters cannot be read" in page
    assert "No verdict" in page
    assert "<h2>Encoding</h2>" not in page
    scores = json.loads((run / "scores.json").read_text())
    assert f"{scores[0]['answer_nll']:.3f}" in page


def test_after_fit_alone_there_is_a_report_of_encoding(run: Path, tmp_path: Path) -> None:
    for name in ("fit.yaml", "fit.jsonl", "losses.jsonl"):
        shutil.copy(run / name, tmp_path)
    page, _ = report(tmp_path)
    assert "step within a document</text>" in page
    assert "<h2>Scores</h2>" not in page
    assert "scores.json is missing: there are none" in page


def test_a_cell_of_a_table_holds_any_text() -> None:
    assert cell("a|b\n*c* <b>") == r"a\|b \*c\* \<b\>"
    assert cell(0.5) == "0.5"


@pytest.mark.slow
def test_runs_are_compared_with_the_first(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("predictions.jsonl", "scores.json", "fit.yaml", "fit.jsonl"):
        shutil.copy(run / name, other)
    text = (run / "test.yaml").read_text()
    (other / "test.yaml").write_text(text.replace("merge: anchored", "merge: mean"))
    page, tables = report(run, other)
    assert f"Against {run}, question by question" in page
    assert re.search(r"test evaluation.merge</th><td>anchored</td><td>mean</td>", page)
    # The same answers: no difference, of no width.
    assert tables.count("| 0.000 (0.000 to 0.000) |") >= 24
    assert page.count("<article") == 3
    links = re.findall(r'<a href="#([^"]*)"', page)
    assert links == ["comparison", "run0", "run1"]
    assert all(page.count(f'id="{link}"') == 1 for link in links)


def test_where_nothing_was_run_there_is_one_line_and_status_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert "nothing was run here" in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_damaged_scores_are_named(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.json").write_text('[{"method": "prag"}]')
    assert main(["report", str(tmp_path)]) == 2
    assert "scores.json: is damaged" in capfd.readouterr().err


def test_the_page_can_be_written_elsewhere_but_not_over_its_tables(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "page.html"
    assert main(["report", str(run), "--output", str(output)]) == 0
    assert output.is_file()
    assert output.with_suffix(".md").is_file()
    figures = {file.name for file in (tmp_path / "new" / "page_figures").iterdir()}
    assert {"run0-scores.svg", "run0-scores.pdf", "run0-losses.pdf"} <= figures
    latex = output.with_suffix(".tex").read_text()
    assert latex.count("\\begin{tabular}") == latex.count("\\toprule") == 1
    for name in ("page.md", "page.tex"):
        assert main(["report", str(run), "--output", str(tmp_path / name)]) == 2
        assert "give the page a name in .html" in capfd.readouterr().err


def test_a_password_in_a_setting_is_not_in_the_report(run: Path, tmp_path: Path) -> None:
    for name in ("predictions.jsonl", "scores.json", "fit.yaml", "fit.jsonl"):
        shutil.copy(run / name, tmp_path)
    settings = yaml.safe_load((run / "test.yaml").read_text())
    url = "https://me:s3cret@search.example:9200"
    settings["data"]["retriever"] = {"class_path": "x.Server", "init_args": {"url": url}}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(settings))
    page, tables = report(tmp_path)
    assert "search.example:9200" in page
    written = page + tables + (tmp_path / "report.tex").read_text()
    assert "s3cret" not in written


def test_a_warm_start_is_not_said_to_be_documents(run: Path, tmp_path: Path) -> None:
    for name in ("fit.jsonl", "losses.jsonl"):
        shutil.copy(run / name, tmp_path)
    settings = yaml.safe_load((run / "fit.yaml").read_text())
    settings["data"]["warm_up"] = "documents"
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(settings))
    page, _ = report(tmp_path)
    assert "Loss of the warm start before each step" in page
    assert "every document counted from its own first" not in page


def test_what_the_bases_own_settings_changed_is_shown(run: Path, tmp_path: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    content = {"generation": {"repetition_penalty": 1.1}, "scores": scores}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    page, tables = report(tmp_path)
    assert "repetition_penalty 1.1" in page
    assert "repetition\\_penalty 1.1" in tables
    assert f"{scores[0]['answer_nll']:.3f}" in page
