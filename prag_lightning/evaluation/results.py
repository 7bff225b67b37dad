"""The files of an evaluation; complete results are never overwritten by partial or other ones."""

import hashlib
import json
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from prag_lightning.answering.answers import Answer
from prag_lightning.documents.records import parse_line, read_records, record_line, write_records
from prag_lightning.documents.writing import write_whole
from prag_lightning.evaluation.scores import Prediction, Score

PREDICTIONS_FILE, SCORES_FILE, ANSWERS_FILE = "predictions.jsonl", "scores.json", "answers.jsonl"
TEST_SETTINGS_FILE = "test.yaml"
_SETTINGS_FILES = {PREDICTIONS_FILE: TEST_SETTINGS_FILE, ANSWERS_FILE: "predict.yaml"}

AnswerT = TypeVar("AnswerT", bound=Answer)

# Bytes of answers that are kept in memory; beyond them, all are in a temporary file.
_IN_MEMORY = 2**25
_BATCH = 1024


class AnswerLog(Collection[AnswerT], Generic[AnswerT]):
    """Answers in the order in which they were added; many of them are on disk.

    Args:
        answer_type: Type of the answers.
        answers: The first ones.
    """

    def __init__(self, answer_type: type[AnswerT], answers: Iterable[AnswerT] = ()) -> None:
        self._type = answer_type
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._size = self._count = 0
        self.add(answers)

    def add(self, answers: Iterable[AnswerT]) -> None:
        """Add answers."""
        self._file.seek(self._size)
        for answer in answers:
            self._size += self._file.write(record_line(answer).encode())
            self._count += 1

    def __iter__(self) -> Iterator[AnswerT]:
        """Yield the answers; others may be added meanwhile."""
        place = 0
        while place < self._size:
            self._file.seek(place)
            lines = list(islice(self._file, _BATCH))
            place += sum(map(len, lines))
            for line in lines:
                yield parse_line(line, self._type, "the answers so far")

    def batches(self) -> Iterator[list[AnswerT]]:
        """Yield the answers, many at once."""
        answers = iter(self)
        while batch := list(islice(answers, _BATCH)):
            yield batch

    def __len__(self) -> int:
        """Return the number of answers."""
        return self._count

    def __contains__(self, answer: object) -> bool:
        """Return whether an answer was added."""
        return any(known == answer for known in self)


def write_results(
    root: Path,
    predictions: Collection[Prediction],
    scores: Sequence[Score],
    *,
    is_partial: bool = False,
    generation: Mapping[str, Any] | None = None,
) -> Path:
    """Write predictions and scores.

    Args:
        root: Folder of the run.
        predictions: The scored answers.
        scores: The means over questions.
        is_partial: Whether only some of the questions were asked; such results are kept apart.
        generation: How the base's own generation settings changed its answers.

    Returns:
        The folder of the files: ``root``, or ``partial`` in it.
    """
    folder = root / "partial" if is_partial else root
    if not is_partial:
        _set_aside(root, PREDICTIONS_FILE, predictions)
    content = ScoresFile(scores=list(scores), generation=dict(generation or {}))
    replace_results(folder, predictions, content)
    return folder


class ScoresFile(BaseModel):
    """The content of ``scores.json``.

    Args:
        scores: The means over questions.
        generation: How the base's own generation settings changed its answers.
    """

    scores: list[Score]
    generation: dict[str, Any] = {}


def replace_results(folder: Path, predictions: Iterable[Prediction], content: ScoresFile) -> None:
    """Replace the predictions and scores in a folder.

    Args:
        folder: The folder.
        predictions: The scored answers.
        content: The content of ``scores.json``.
    """
    write_records(folder / PREDICTIONS_FILE, predictions)
    rows = [score.model_dump(exclude_none=True) for score in content.scores]
    generation = content.generation
    written = {"generation": generation, "scores": rows} if generation else rows
    write_whole(folder / SCORES_FILE, json.dumps(written, indent=1) + "\n")


def read_scores(file: Path) -> ScoresFile:
    """Return the scores that `write_results` wrote, and the generation settings if there are any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return ScoresFile.model_validate(
            {"scores": content} if isinstance(content, list) else content
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: is damaged ({reason}); run `prag test` again") from error


def write_answers(root: Path, answers: Collection[Answer]) -> Path:
    """Write answers to questions that cannot be scored, and return the file.

    Args:
        root: Folder of the run.
        answers: The answers.
    """
    _set_aside(root, ANSWERS_FILE, answers)
    write_records(root / ANSWERS_FILE, answers)
    return root / ANSWERS_FILE


def _set_aside(root: Path, name: str, answers: Iterable[Answer]) -> None:
    """Move earlier results that differ to ``earlier/TIME``, with their settings."""
    file = root / name
    if not file.exists() or _digest(read_records(file, Answer)) == _digest(answers):
        return
    time = datetime.fromtimestamp(file.stat().st_mtime).strftime("%Y-%m-%d_%H-%M-%S")
    folder = root / "earlier" / time
    folder.mkdir(parents=True, exist_ok=True)
    for known in (_SETTINGS_FILES[name], SCORES_FILE, name):
        if (root / known).exists():
            (root / known).replace(folder / known)
    print(f"the results before are in {folder}")


def _digest(answers: Iterable[Answer]) -> int:
    """Return a digest of the answers' texts, in whatever order they are."""
    total = 0
    for answer in answers:
        content = json.dumps([answer.method, answer.question_id, answer.text])
        total += int.from_bytes(hashlib.sha256(content.encode()).digest(), "big")
    return total
