"""Rankings of documents for questions, and TREC run files."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from prag_lightning.documents.writing import atomic_file

# `trec_eval` ignores the second field of a line. We use it to mark percent-escaped ids, since ids
# in other people's run files, such as URLs, may contain percent signs.
_PLAIN, _ESCAPED = "Q0", "Q0%"
# White space would end an id; a byte order mark would be removed at the start of the file.
_UNSAFE = re.compile("[\\s%\ufeff]")


class RetrievedDocument(NamedTuple):
    """A retrieved document and its score."""

    document_id: str
    score: float


class Run(NamedTuple):
    """The rankings of a run file.

    Attributes:
        rankings: Documents by question id, best first.
        top_k: Number of documents requested, according to the run's tag (``found@5`` for 5). A
            shorter ranking then means that nothing more was found. 0 if the tag does not say.
    """

    rankings: dict[str, list[RetrievedDocument]]
    top_k: int


def write_run(
    run_file: str | os.PathLike[str],
    rankings: Iterable[tuple[str, Sequence[RetrievedDocument]]],
    tag: str,
    top_k: int | None = None,
) -> None:
    """Write rankings to a TREC run file atomically.

    White space in ids is percent-escaped, and the second field of such lines is ``Q0%``.

    Args:
        run_file: The file.
        rankings: Question ids, each with its documents, best first.
        tag: Name of the run, without spaces.
        top_k: Number of documents requested; by default the length of the longest ranking.

    Raises:
        OSError: If the file cannot be written.
    """
    rankings = list(rankings)
    if top_k is None:
        top_k = max((len(ranking) for _, ranking in rankings), default=0)
    with atomic_file(run_file) as out:
        for question_id, ranking in rankings:
            for rank, found in enumerate(ranking, start=1):
                ids = _fields(question_id, found.document_id)
                out.write(f"{ids} {rank} {found.score:.9g} {tag}@{top_k}\n")


def _fields(question_id: str, document_id: str) -> str:
    """Return the first three fields of a line."""
    if not _UNSAFE.search(question_id + document_id):
        return f"{question_id} {_PLAIN} {document_id}"
    return f"{_escape(question_id)} {_ESCAPED} {_escape(document_id)}"


def _escape(identifier: str) -> str:
    return _UNSAFE.sub(lambda found: quote(found[0], safe=""), identifier)


def read_run(run_file: Path) -> Run:
    """Read a TREC run file, and sort its rankings by score and, for equal scores, by rank.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not UTF-8, not a ranking, or repeats a document; the message names
            the line.
    """
    if not run_file.is_file():
        raise FileNotFoundError(f"{run_file}: no such run file")
    rows: dict[str, dict[str, tuple[float, int]]] = {}
    top_k = 0
    with run_file.open("rb") as lines:
        for number, content in enumerate(lines, start=1):
            where = f"{run_file}:{number}"
            fields = _decode(content, number, where).split()
            if not fields:
                continue
            question_id, document_id, rank, score = _parse(fields, where)
            ranked = rows.setdefault(question_id, {})
            if document_id in ranked:
                raise ValueError(
                    f"{where}: document '{document_id}' appears twice in the ranking of question "
                    f"'{question_id}'; keep one"
                )
            ranked[document_id] = (score, rank)
            top_k = max(top_k, _asked_for(fields[5]))
    return Run({question_id: _in_order(ranked) for question_id, ranked in rows.items()}, top_k)


def _decode(content: bytes, number: int, where: str) -> str:
    try:
        return content.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 at byte {error.start} of the line; convert the file to UTF-8"
        ) from error


def _parse(fields: list[str], where: str) -> tuple[str, str, int, float]:
    if len(fields) != 6:
        raise ValueError(
            f"{where}: {len(fields)} fields instead of 6; expected 'question Q0 document rank "
            "score tag' (write spaces in ids as %20, and Q0% in the second field)"
        )
    question_id, mark, document_id, rank, score, _ = fields
    if mark == _ESCAPED:
        question_id, document_id = unquote(question_id), unquote(document_id)
    try:
        parsed = question_id, document_id, int(rank), float(score)
    except ValueError as error:
        raise ValueError(f"{where}: rank '{rank}' and score '{score}' must be numbers") from error
    if not math.isfinite(parsed[3]):
        raise ValueError(f"{where}: score '{score}' is not finite")
    return parsed


def _asked_for(tag: str) -> int:
    number = re.search(r"@([0-9]{1,9})$", tag)
    return int(number[1]) if number else 0


def _in_order(ranked: dict[str, tuple[float, int]]) -> list[RetrievedDocument]:
    best_first = sorted(ranked.items(), key=lambda row: (-row[1][0], row[1][1]))
    return [RetrievedDocument(document_id, score) for document_id, (score, _) in best_first]
