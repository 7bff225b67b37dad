"""Documents, their augmentations and questions, and JSON Lines of them."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError


class Record(BaseModel):
    """One line of a JSON Lines file: unknown fields are ignored, known ones never coerced."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)


class Document(Record):
    """The unit of retrieval and of encoding. BEIR's ``_id`` is read as ``id``."""

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "_id"))
    title: str = ""
    text: str


class QuestionAnswer(Record):
    """A question that its document answers, in a few words and in a sentence."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    full_answer: str = Field(min_length=1)


class Augmentation(Record):
    """What a language model made of one document."""

    document_id: str = Field(min_length=1)
    rewrites: list[str]
    qas: list[QuestionAnswer]


class Question(Record):
    """A question to evaluate: ``document_ids`` are the gold documents, where they are known."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answers: list[str] = []
    document_ids: list[str] = []
    type: str | None = None


RecordT = TypeVar("RecordT", bound=BaseModel)


def read_records(file: str | os.PathLike[str], record_type: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a JSON Lines file, one at a time; blank lines are passed over.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not valid; names the file, the line and the field.
    """
    for _, record in _numbered_records(Path(file), record_type):
        yield record


def _numbered_records(path: Path, record_type: type[RecordT]) -> Iterator[tuple[int, RecordT]]:
    """Yield each record with the number of its line, from 1."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {record_type.__name__} records")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                # The text is decoded strictly here: pydantic names no byte of a bad sequence.
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, record_type.model_validate_json(text)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}:{number}: not UTF-8 at byte {error.start} of the line; "
                    "convert the file to UTF-8"
                ) from error
            except ValidationError as error:
                raise ValueError(f"{path}:{number}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first field that is not valid and why, in one line."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"field '{field}': {problem['msg']}" if field else problem["msg"]


def write_records(file: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write records as JSON Lines, whole or not at all, and return how many there were."""
    count = 0
    with records_file(file) as write:
        for record in records:
            write(record)
            count += 1
    return count


@contextmanager
def records_file(file: str | os.PathLike[str]) -> Iterator[Callable[[Record], None]]:
    """Yield a function that writes a record as a line; without an error the file then appears."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as out:

            def write(record: Record) -> None:
                fields = record.model_dump(exclude_none=True)
                out.write(json.dumps(fields, ensure_ascii=False) + "\n")

            yield write
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


IdentifiedT = TypeVar("IdentifiedT", Document, Augmentation, Question)


def read_unique(file: str | os.PathLike[str], record_type: type[IdentifiedT]) -> list[IdentifiedT]:
    """Return the records of a JSON Lines file without exact repetitions, and say if there are any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not valid, or one id stands for two different records; names both
            lines.
    """
    by_id: dict[str, tuple[int, IdentifiedT]] = {}
    num_records = 0
    for number, record in _numbered_records(Path(file), record_type):
        num_records += 1
        record_id = record.document_id if isinstance(record, Augmentation) else record.id
        first, known = by_id.setdefault(record_id, (number, record))
        if known != record:
            kind = record_type.__name__.lower()
            raise ValueError(
                f"{file}: id '{record_id}' stands for two different {kind}s, in lines {first} and "
                f"{number}; keep one of them, or give each its own id"
            )
    if num_repeated := num_records - len(by_id):
        print(f"{file}: lines that repeat an earlier one, and count once: {num_repeated}")
    return [record for _, record in by_id.values()]
