"""Documents found for questions, and run files of TREC, which hold them."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class RetrievedDocument(NamedTuple):
    """A document that was found, and how well it fits."""

    document_id: str
    score: float


def write_run(
    run_file: str | os.PathLike[str],
    rankings: Iterable[tuple[str, Sequence[RetrievedDocument]]],
    tag: str,
) -> None:
    """Write each question's id and ranking as a TREC run file.

    Raises:
        ValueError: If an id holds a space, which the format cannot carry.
    """
    lines = [
        f"{_word(question_id)} Q0 {_word(found.document_id)} {rank} {found.score:.9g} {tag}\n"
        for question_id, ranking in rankings
        for rank, found in enumerate(ranking, start=1)
    ]
    Path(run_file).write_text("".join(lines), encoding="utf-8")


def _word(identifier: str) -> str:
    if len(identifier.split()) != 1:
        raise ValueError(f"id '{identifier}' holds a space: a run file cannot carry it")
    return identifier


def read_run(run_file: Path) -> dict[str, list[RetrievedDocument]]:
    """Return the ranking of each question of a TREC run file, best first.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no ranking, or repeats a document; names the line.
    """
    if not run_file.is_file():
        raise FileNotFoundError(f"{run_file}: no such run file")
    rows: dict[str, dict[str, tuple[float, int]]] = {}
    with run_file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            question_id, document_id, rank, score = _parse(line, f"{run_file}:{number}")
            ranked = rows.setdefault(question_id, {})
            if document_id in ranked:
                raise ValueError(
                    f"{run_file}:{number}: document '{document_id}' stands twice in the ranking "
                    f"of question '{question_id}'; keep one"
                )
            ranked[document_id] = (score, rank)
    return {question_id: _in_order(ranked) for question_id, ranked in rows.items()}


def _parse(line: str, where: str) -> tuple[str, str, int, float]:
    fields = line.split()
    if len(fields) != 6:
        raise ValueError(
            f"{where}: {len(fields)} fields instead of 6; expected "
            "'question Q0 document rank score tag'"
        )
    question_id, _, document_id, rank, score, _ = fields
    try:
        parsed = question_id, document_id, int(rank), float(score)
    except ValueError as error:
        raise ValueError(f"{where}: rank '{rank}' and score '{score}' must be numbers") from error
    if not math.isfinite(parsed[3]):
        raise ValueError(f"{where}: score '{score}' is not finite")
    return parsed


def _in_order(ranked: dict[str, tuple[float, int]]) -> list[RetrievedDocument]:
    best_first = sorted(ranked.items(), key=lambda row: (-row[1][0], row[1][1]))
    return [RetrievedDocument(document_id, score) for document_id, (score, _) in best_first]
