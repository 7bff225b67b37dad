"""Answers that runs of a sweep share: those of methods without adapters."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from prag_lightning import __version__
from prag_lightning.adapters.store.recipe import digest_text
from prag_lightning.answering.questions import METHODS
from prag_lightning.documents.records import read_records
from prag_lightning.documents.writing import write_whole
from prag_lightning.evaluation.results import (
    PREDICTIONS_FILE,
    SCORES_FILE,
    TEST_SETTINGS_FILE,
    ScoresFile,
    read_scores,
    replace_results,
)
from prag_lightning.evaluation.run_result import RESULT_FILE, RunResult, read_result
from prag_lightning.evaluation.scores import Prediction, Score

# Settings that only affect adapters. All other settings count, including future ones.
OF_ADAPTERS = (
    *("model.lora", "model.num_slots", "model.lr", "model.weight_decay", "model.max_grad_norm"),
    *("model.compile", "model.store", "warm_start", "adapter_writer", "data.methods"),
    *("data.augmentations", "data.augmenter", "data.num_rewrites", "data.num_qas"),
    *("data.few_shot_in_training", "data.passage_in_prompt", "data.objective", "data.loss_on"),
    "data.num_strangers_questions",
    *("data.passes", "data.batch_size", "data.packed", "data.validation_questions"),
    *("evaluation.merge", "evaluation.on_missing", "trainer.default_root_dir"),
)
# Settings that methods without retrieved documents do not depend on either.
OF_RETRIEVAL = ("data.retriever", "data.top_k")


class SharedAnswers(NamedTuple):
    """Methods of a run that other runs have already answered.

    Args:
        methods: The run's methods.
        known: Folders of the runs that answered, by method.
    """

    methods: list[str]
    known: dict[str, Path]

    @property
    def left(self) -> list[str]:
        """The methods that no other run has answered."""
        return [name for name in self.methods if name not in self.known]


def answer_digests(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each method without adapters, a digest of all that determines its answers.

    Files are compared by size and modification time, so touching a file changes the digest.

    Args:
        settings: All settings of a run, nested.
    """
    return {
        name: _digest(settings, OF_ADAPTERS + (() if method.needs_retrieval else OF_RETRIEVAL))
        for name, method in METHODS.items()
        if method.adapters == "none"
    }


def _digest(settings: Mapping[str, Any], left_out: Sequence[str]) -> str:
    counted = copy.deepcopy(dict(settings))
    for key in left_out:
        *groups, last = key.split(".")
        place: Any = counted
        for group in groups:
            place = place.get(group) or {}
        place.pop(last, None)
    files = [stamp for word in _words(counted) for stamp in _stamps(Path(word))]
    return digest_text(__version__, json.dumps(counted, sort_keys=True), json.dumps(files))


def _words(value: Any) -> Iterator[str]:
    """Yield all strings among settings: each may be a path."""
    if isinstance(value, str):
        yield from [value] if value else []
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)


def _stamps(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and modification time of a file, or of those in a folder and its index."""
    try:
        files = sorted([*path.iterdir(), *path.glob("index/*")]) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                yield str(file), file.stat().st_size, file.stat().st_mtime_ns
    except OSError:
        # Too long for a path, or not readable.
        return


def find_answers(
    sweep_folder: Path, digests: Mapping[str, str], methods: Sequence[str] | None
) -> SharedAnswers:
    """Return the methods of a run that earlier runs of the sweep have answered.

    Args:
        sweep_folder: Folder of all runs.
        digests: The run's `answer_digests`.
        methods: Its methods; None for all that its questions allow, which are only known from a
            run that used all of them.
    """
    known: dict[str, Path] = {}
    for folder, result in _answered(sweep_folder):
        agreed = [name for name, digest in result.answered.items() if digests.get(name) == digest]
        if methods is None and result.asked_all and agreed:
            methods = list(dict.fromkeys(score.method for score in result.scores))
        known |= {name: folder for name in agreed if name not in known}
    methods = list(methods or ())
    return SharedAnswers(methods, {name: known[name] for name in methods if name in known})


def _answered(sweep_folder: Path) -> Iterator[tuple[Path, RunResult]]:
    """Yield the runs whose answers still match their results."""
    for file in sorted(sweep_folder.glob(f"*/{RESULT_FILE}")):
        folder, result = file.parent, read_result(file.parent)
        files = (folder / SCORES_FILE, folder / PREDICTIONS_FILE)
        if result is None or not result.answered or not all(one.is_file() for one in files):
            continue
        if read_scores(folder / SCORES_FILE).scores == result.scores:
            yield folder, result


def add_answers(folder: Path, shared: SharedAnswers, methods_setting: Any) -> None:
    """Add the answers of other runs, and their scores, to those of a run.

    Its files are then the same as if it had used all of its methods itself.

    Args:
        folder: Folder of the run, in which ``prag test`` has answered with the remaining methods.
        shared: The shared answers.
        methods_setting: The run's own ``data.methods``.
    """
    predictions, content = _read(folder)
    scores = content.scores
    for source in dict.fromkeys(shared.known.values()):
        theirs, their_content = _read(source)
        predictions += [one for one in theirs if shared.known.get(one.method) == source]
        scores += [one for one in their_content.scores if shared.known.get(one.method) == source]

    def place(one: Prediction | Score) -> int:
        return shared.methods.index(one.method)

    content.scores = sorted(scores, key=place)
    replace_results(folder, sorted(predictions, key=place), content)
    settings_file = folder / TEST_SETTINGS_FILE
    settings = yaml.safe_load(settings_file.read_text(encoding="utf-8"))
    settings["data"]["methods"] = methods_setting
    write_whole(settings_file, yaml.safe_dump(settings, sort_keys=False))


def _read(folder: Path) -> tuple[list[Prediction], ScoresFile]:
    predictions = list(read_records(folder / PREDICTIONS_FILE, Prediction))
    return predictions, read_scores(folder / SCORES_FILE)
