"""Folders of runs and sweeps, as the commands would have left them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from prag_lightning.documents.records import write_records
from prag_lightning.evaluation.run_result import RunResult, write_result
from prag_lightning.evaluation.scores import Prediction, summarize
from tests.evaluation.report.predictions import predictions


def write_run(
    folder: Path, made: Sequence[Prediction], settings: Mapping[str, Mapping[str, object]]
) -> Path:
    """Write what ``prag test`` leaves.

    Args:
        folder: Root folder of the run.
        made: What was said.
        settings: Settings of the run.
    """
    folder.mkdir(parents=True)
    write_records(folder / "predictions.jsonl", made)
    rows = [score.model_dump(exclude_none=True) for score in summarize(made)]
    (folder / "scores.json").write_text(json.dumps(rows))
    (folder / "test.yaml").write_text(yaml.safe_dump(dict(settings)))
    return folder


def write_sweep(root: Path, f1: Mapping[tuple[str, str], Sequence[float]]) -> Path:
    """Write a sweep over ``model.lora.rank`` and ``evaluation.merge``, and return its folder.

    Args:
        root: Root folder of the sweep.
        f1: What ``prag`` scores on each question, by rank and merge rule.
    """
    for (rank, merge), values in f1.items():
        made = predictions({"closed_book": [0.0] * len(values), "prag": values})
        store = str(root / "sweep" / "adapters" / rank)
        settings = {"model": {"store": store, "lora": {"rank": int(rank)}}}
        folder = write_run(root / "sweep" / f"rank={rank},merge={merge}", made, settings)
        swept = {"model.lora.rank": rank, "evaluation.merge": merge}
        write_result(folder, RunResult(digest="0", swept=swept, status="done"))
        if merge == "sum":
            (folder / "fit.yaml").write_text(yaml.safe_dump(settings))
    return root / "sweep"
