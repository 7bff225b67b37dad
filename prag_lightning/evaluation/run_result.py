"""The result of one run of a sweep: ``result.json`` in its folder."""

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from prag_lightning.documents.writing import write_whole
from prag_lightning.evaluation.scores import Score

DONE_STATUS = "done"
RESULT_FILE = "result.json"


class RunResult(BaseModel):
    """The result of one run.

    Args:
        digest: Digest of all settings of the run.
        swept: The settings that differ from run to run, by key.
        status: ``done``, or what went wrong.
        fit_seconds: Time of encoding; None if another run had encoded the same.
        test_seconds: Time of answering.
        scores: The scores of every method, over all questions and over each type.
        asked_all: Whether it used all methods that the questions allow.
        answered: For each method without adapters, a digest of all settings and files that
            determine its answers.
    """

    digest: str
    swept: dict[str, str]
    status: str
    fit_seconds: float | None = None
    test_seconds: float | None = None
    scores: list[Score] = Field(default_factory=list)
    asked_all: bool = False
    answered: dict[str, str] = Field(default_factory=dict)


def read_result(folder: Path) -> RunResult | None:
    """Return the result in a run's folder; None if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    file = folder / RESULT_FILE
    if not file.is_file():
        return None
    try:
        return RunResult.model_validate_json(file.read_bytes())
    except ValidationError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: is damaged ({reason}); delete it, and sweep again") from error


def write_result(folder: Path, result: RunResult) -> None:
    """Write the result of a run.

    Args:
        folder: Folder of the run.
        result: The result.
    """
    write_whole(folder / RESULT_FILE, result.model_dump_json(indent=1) + "\n")
