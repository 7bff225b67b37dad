"""What ``prag fit`` and ``prag test`` left in a folder; what is missing is said, not missed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prag_lightning.adapters.store.opening import StoreStats, open_store
from prag_lightning.documents.records import read_records
from prag_lightning.encoding.records import LOSSES_FILE, SUMMARY_FILE, DocumentLosses, FitSummary
from prag_lightning.evaluation.report.adapter_norms import AdapterNorms, adapter_norms
from prag_lightning.evaluation.scores import Prediction, Score, summarize

Losses = Sequence[float | None]
_TRACES = ("fit.yaml", "test.yaml", "predictions.jsonl", "scores.json", SUMMARY_FILE)


@dataclass
class RunFolder:
    """The content of a run's root folder, as far as it is there.

    Args:
        folder: The folder.
        settings: Of ``fit`` and ``test``, by these names, as they were written.
        predictions: What every method said.
        scores: Of every method.
        losses: Of every document, by id.
        fits: What each process of each run of ``fit`` took.
        store: What the store of adapters holds.
        norms: How much its adapters change the base model.
        missing: What is not there, in sentences.
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    losses: dict[str, Losses] = field(default_factory=dict)
    fits: list[FitSummary] = field(default_factory=list)
    store: StoreStats | None = None
    norms: AdapterNorms | None = None
    missing: list[str] = field(default_factory=list)

    def setting(self, command: str, *keys: str) -> Any:
        """Return a setting of ``fit`` or ``test``; None if it is not known."""
        value: Any = yaml.safe_load(self.settings.get(command, "")) or {}
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_run_folder(folder: Path) -> RunFolder:
    """Return what a run left in its root folder.

    Raises:
        FileNotFoundError: If nothing was run there.
        ValueError: If a file is damaged.
    """
    if not any((folder / name).is_file() for name in _TRACES):
        raise FileNotFoundError(
            f"{folder}: nothing was run here; `prag fit --trainer.default_root_dir {folder}` and "
            "`prag test` leave what a report needs"
        )
    run = RunFolder(folder)
    for command in ("fit", "test"):
        if _there(run, f"{command}.yaml", f"the settings of `prag {command}` are not known"):
            text = (folder / f"{command}.yaml").read_text(encoding="utf-8")
            run.settings[command] = text
    _read_evaluation(run)
    _read_encoding(run)
    _read_store(run)
    return run


def _there(run: RunFolder, name: str, consequence: str) -> bool:
    if (run.folder / name).is_file():
        return True
    run.missing.append(f"{name} is missing: {consequence}.")
    return False


def _read_evaluation(run: RunFolder) -> None:
    if _there(run, "predictions.jsonl", "there are no intervals, differences and examples"):
        run.predictions = list(read_records(run.folder / "predictions.jsonl", Prediction))
    consequence = "scores are those of the predictions" if run.predictions else "there are none"
    if _there(run, "scores.json", consequence):
        file = run.folder / "scores.json"
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            run.scores = [Score(**row) for row in rows]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: is damaged ({error}); run `prag test` again") from error
    elif run.predictions:
        run.scores = summarize(run.predictions)


def _read_encoding(run: RunFolder) -> None:
    if _there(run, LOSSES_FILE, "there is no curve of losses"):
        records = read_records(run.folder / LOSSES_FILE, DocumentLosses)
        # A document that was encoded again counts as it was last.
        run.losses = {record.document_id: record.losses for record in records}
    if _there(run, SUMMARY_FILE, "what encoding took is not known"):
        run.fits = list(read_records(run.folder / SUMMARY_FILE, FitSummary))


def _read_store(run: RunFolder) -> None:
    settings = [run.setting(command, "model", "store") for command in ("test", "fit")]
    path = next((str(path) for path in settings if path), str(run.folder / "adapters"))
    try:
        with open_store(path, mode="read") as store:
            run.store = store.stats()
            run.norms = adapter_norms(store)
    except (FileNotFoundError, ValueError) as error:
        run.missing.append(f"The adapters cannot be read: {' '.join(str(error).split())}")
