"""Runs beside the published figures."""

import re
from pathlib import Path

import pytest

from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.published import (
    PUBLISHED,
    published_figure,
    published_rows,
)
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.scores import summarize
from tests.evaluation.report.predictions import predictions

CONFIGS = Path(__file__).parents[3] / "configs" / "published" / "datasets"


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_figures_are_those_of_the_configs(dataset: str) -> None:
    lines = (CONFIGS / f"{dataset}.yaml").read_text().split("F1 to aim at")[1].splitlines()[1:]
    types = lines[0].strip("# ").split()
    found: dict[str, dict[str, list[float]]] = {}
    model = ""
    for line in lines[1:]:
        row = re.fullmatch(r"#\s+(\S+)?\s+(rag|prag|combine)\s+([\d. ]+)", line)
        if row is None:
            break
        model = (row[1] or model).lower()
        for name, value in zip(types, row[3].split(), strict=True):
            found.setdefault(model, {}).setdefault(name, []).append(float(value))
    listed = {
        model: {name: list(values) for name, values in types.items()}
        for model, types in PUBLISHED[dataset].items()
    }
    assert found == listed


def run(base: str, folder: str) -> RunFolder:
    settings = {"model": {"base": base}, "data": {"folder": folder}}
    return RunFolder(Path("run"), settings={"test": settings})


SCORES = [
    ScoreRow(score, {})
    for score in summarize(predictions({"prag": [1.0, 0.5], "closed_book": [0.0, 0.0]}))
]


@pytest.mark.parametrize(
    ("base", "folder", "published"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", "data/popqa", [0.2205]),
        ("/models/Qwen2.5-1.5B-Instruct", "/data/hotpotqa/small", [0.2165]),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "data/complexwebquestions", [0.4541]),
        ("meta-llama/Llama-3.2-1B-Instruct", "data/mine", []),
        ("demo", "data/popqa", []),
        ("Qwen/Qwen2.5-1.5Bis", "data/popqa", []),
    ],
)
def test_a_run_of_a_published_experiment_stands_beside_it(
    base: str, folder: str, published: list[float]
) -> None:
    rows = published_rows(run(base, folder), SCORES)
    assert [(row.method, row.type, row.published) for row in rows] == [
        ("prag", "all", value) for value in published
    ]
    if rows:
        assert rows[0].ours == 0.75
        assert "prag, all" in published_figure(rows, "p").svg()
