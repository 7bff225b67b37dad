"""Reads the results of ``prag fit`` and ``prag test`` from a run's folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from prag_lightning.adapters.store.opening import StoreStats, open_store
from prag_lightning.answering.merge_choice import MergeChoice, read_choice
from prag_lightning.documents.records import read_records
from prag_lightning.documents.yaml_text import read_yaml
from prag_lightning.encoding.records import LOSSES_FILE, SUMMARY_FILE, DocumentLosses, FitSummary
from prag_lightning.evaluation.report.adapter_norms import AdapterNorms, adapter_norms
from prag_lightning.evaluation.report.adapter_similarity import adapter_similarity
from prag_lightning.evaluation.results import PREDICTIONS_FILE, SCORES_FILE, read_scores
from prag_lightning.evaluation.run_result import RESULT_FILE, RunResult, read_result
from prag_lightning.evaluation.scores import ALL_TYPES, Prediction, Score, summarize
from prag_lightning.evaluation.setting_names import short_keys
from prag_lightning.retrieval.address import without_passwords

Losses = Sequence[float | None]
_TRACES = ("fit.yaml", "test.yaml", PREDICTIONS_FILE, SCORES_FILE, SUMMARY_FILE, RESULT_FILE)


@dataclass
class RunFolder:
    """The content of a run's root folder, as far as it exists.

    Args:
        folder: The folder.
        settings: Settings of ``fit`` and ``test``, by these names, without passwords.
        predictions: The predictions of every method.
        scores: The scores of every method.
        generation: How the base's own generation settings changed its answers.
        losses: The losses of every document, by id.
        fits: The cost of each process of each run of ``fit``.
        store: Content of the store of adapters.
        norms: How much its adapters change the base model.
        similarity: Cosines between their weight updates, shape ``(documents, documents)``.
        choice: How its merge rule was chosen; None if it was not tuned.
        result: Result of a run of a sweep; None if it belongs to no sweep.
        missing: What is missing, in sentences.
    """

    folder: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    generation: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, Losses] = field(default_factory=dict)
    fits: list[FitSummary] = field(default_factory=list)
    store: StoreStats | None = None
    norms: AdapterNorms | None = None
    similarity: Tensor | None = None
    choice: MergeChoice | None = None
    result: RunResult | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Label of the run: its values of the swept settings, or its path."""
        swept = self.result.swept if self.result else {}
        short = short_keys(list(swept))
        return ", ".join(f"{short[k]} {value}" for k, value in swept.items()) or str(self.folder)

    def setting(self, command: str, *keys: str) -> Any:
        """Return a setting of ``fit`` or ``test``; None if unknown."""
        value: Any = self.settings.get(command, {})
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def is_run(folder: Path) -> bool:
    """Return whether ``prag fit`` or ``prag test`` wrote to a folder."""
    return any((folder / name).is_file() for name in _TRACES)


def read_run_folder(folder: Path) -> RunFolder:
    """Return the content of a run's root folder.

    Raises:
        FileNotFoundError: If nothing was run there.
        ValueError: If a file is damaged.
    """
    if not is_run(folder):
        raise FileNotFoundError(
            f"{folder}: nothing was run here; `prag fit --trainer.default_root_dir {folder}` and "
            "`prag test`, or `prag sweep`, leave what a report needs"
        )
    run = RunFolder(folder, result=read_result(folder))
    if run.result is not None and run.result.status != "done":
        run.missing.append(f"The run was not done: {run.result.status}.")
    encoder = _encoder(folder)
    for command, source in (("fit", encoder), ("test", folder)):
        if _there(run, source, f"{command}.yaml", f"the settings of `prag {command}` are unknown"):
            run.settings[command] = _read_settings(source / f"{command}.yaml")
    run.choice = read_choice(folder)
    _read_evaluation(run)
    _read_encoding(run, encoder)
    _read_store(run)
    return run


def _there(run: RunFolder, folder: Path, name: str, consequence: str) -> bool:
    if (folder / name).is_file():
        return True
    run.missing.append(f"{name} is missing: {consequence}.")
    return False


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = read_yaml(file)
    except ValueError as error:
        raise ValueError(f"{error}; the file is damaged, move it away") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: is damaged (no settings in it); move it away")
    found: dict[str, Any] = without_passwords(settings)
    return found


def _encoder(folder: Path) -> Path:
    """Return the run that encoded a run's adapters: in a sweep, one that shares its store."""
    settings = folder / "test.yaml"
    if (folder / "fit.yaml").is_file() or not settings.is_file():
        return folder
    store = _store_of(settings)
    siblings = sorted(folder.parent.glob("*/fit.yaml"))
    shared = [file.parent for file in siblings if store is not None and _store_of(file) == store]
    return next((one for one in shared if (one / RESULT_FILE).is_file()), folder)


def _store_of(settings_file: Path) -> Any:
    return _read_settings(settings_file).get("model", {}).get("store")


def _read_evaluation(run: RunFolder) -> None:
    folder = run.folder
    consequence = "there are no intervals, differences and examples"
    if _there(run, folder, PREDICTIONS_FILE, consequence):
        run.predictions = list(read_records(folder / PREDICTIONS_FILE, Prediction))
    consequence = "scores are those of the predictions" if run.predictions else "there are none"
    if _there(run, folder, SCORES_FILE, consequence):
        content = read_scores(folder / SCORES_FILE)
        run.scores, run.generation = content.scores, content.generation
    elif run.predictions:
        run.scores = summarize(run.predictions)
    methods = list(dict.fromkeys(score.method for score in run.scores))
    # Files of earlier versions do not have the same order of types for all methods.
    run.scores = sorted(
        run.scores, key=lambda s: (methods.index(s.method), s.type != ALL_TYPES, s.type)
    )


def _read_encoding(run: RunFolder, encoder: Path) -> None:
    if encoder != run.folder:
        run.missing.append(f"The adapters were encoded by {encoder}, whose losses are shown there.")
    elif _there(run, encoder, LOSSES_FILE, "there is no curve of losses"):
        records = read_records(encoder / LOSSES_FILE, DocumentLosses)
        # For a document that was encoded again, the last record counts.
        run.losses = {record.document_id: record.losses for record in records}
    if _there(run, encoder, SUMMARY_FILE, "what encoding took is not known"):
        run.fits = list(read_records(encoder / SUMMARY_FILE, FitSummary))


def _read_store(run: RunFolder) -> None:
    settings = [run.setting(command, "model", "store") for command in ("test", "fit")]
    path = next((str(path) for path in settings if path), str(run.folder / "adapters"))
    try:
        with open_store(path, mode="read") as store:
            run.store = store.stats()
            run.norms = adapter_norms(store)
            run.similarity = adapter_similarity(store)
    except (OSError, ValueError) as error:
        run.missing.append(f"The adapters cannot be read: {' '.join(str(error).split())}")
