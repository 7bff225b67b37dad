"""Documents, their augmentations and questions, and JSON Lines of them."""

import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from prag_lightning.documents.writing import atomic_file


def compose(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), so that one word has one spelling.

    >>> compose("Cafe\u0301") == "Caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text)


Text = Annotated[str, AfterValidator(compose)]
NonEmptyText = Annotated[str, Field(min_length=1), AfterValidator(compose)]


def distinct(texts: Iterable[str | None]) -> list[str]:
    """Return the texts that are not empty, each once, in order.

    >>> distinct(["Paris", None, "paris", "Paris", ""])
    ['Paris', 'paris']
    """
    return list(dict.fromkeys(text for text in texts if text))


class Record(BaseModel):
    """One line of a JSON Lines file: unknown fields are ignored, known ones never coerced."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)


class Document(Record):
    """The unit of retrieval and of encoding. BEIR's ``_id`` is read as ``id``.

    Texts, here and in the other records, are held in Unicode's composed form; ids stay as they are.
    """

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "_id"))
    title: Text = ""
    text: Text


class QuestionAnswer(Record):
    """A question that its document answers, in a few words and in a sentence."""

    question: NonEmptyText
    answer: NonEmptyText
    full_answer: NonEmptyText


class Augmentation(Record):
    """What a language model made of one document; ``text_digest`` says of which text."""

    document_id: str = Field(min_length=1)
    rewrites: list[Text]
    qas: list[QuestionAnswer]
    text_digest: str | None = None


class Question(Record):
    """A question to evaluate: ``document_ids`` are the gold documents, where they are known."""

    id: str = Field(min_length=1)
    question: NonEmptyText
    answers: list[Text] = []
    # A document that is named twice is gold once.
    document_ids: Annotated[list[str], AfterValidator(distinct)] = []
    type: str | None = None


RecordT = TypeVar("RecordT", bound=BaseModel)

_MAKERS = {
    "document": "prag data convert",
    "question": "prag data convert",
    "augmentation": "prag augment",
}


def read_records(file: str | os.PathLike[str], record_type: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a JSON Lines file, one at a time; blank lines are passed over.

    Args:
        file: The JSON Lines file, in UTF-8; a byte order mark may stand before any line.
        record_type: What each line is to be.

    Yields:
        One record for each line.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not valid; names the file, the line and the field.
    """
    for _, record in _numbered_records(Path(file), record_type):
        yield record


def _numbered_records(path: Path, record_type: type[RecordT]) -> Iterator[tuple[int, RecordT]]:
    """Yield each record with the number of its line, from 1."""
    with open_lines(path, record_type) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, parse_line(line, record_type, f"{path}:{number}")


def open_lines(path: Path, record_type: type[BaseModel]) -> BinaryIO:
    """Open a file of records.

    Args:
        path: The file.
        record_type: What its lines are, for the message.

    Raises:
        FileNotFoundError: If there is no such file; says what was expected, and what makes one.
    """
    if not path.is_file():
        kind = record_type.__name__.lower()
        maker = f", as `{_MAKERS[kind]}` writes them" if kind in _MAKERS else ""
        kinds = f"of {kind}s" if issubclass(record_type, Record) else "one record a line"
        raise FileNotFoundError(f"{path}: no such file; expected JSON Lines {kinds}{maker}")
    return path.open("rb")


def parse_line(line: bytes, record_type: type[RecordT], where: str) -> RecordT:
    """Return the record that a line of a file holds.

    Args:
        line: JSON in UTF-8.
        record_type: What the line is to be.
        where: The place for messages.

    Returns:
        The record.

    Raises:
        ValueError: If the line is not valid; names the place and the field.
    """
    try:
        # The text is decoded strictly here: pydantic names no byte of a bad sequence.
        return record_type.model_validate_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 at byte {error.start} of the line; convert the file to UTF-8"
        ) from error
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first field that is not valid and why, in one line."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"field '{field}': {problem['msg']}" if field else problem["msg"]


def write_records(file: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write records as JSON Lines, whole or not at all.

    Args:
        file: Where to; missing folders are made.
        records: What to write; fields that are None are left out.

    Returns:
        How many there were.

    Raises:
        OSError: If the file cannot be written, as on a full disk; names the file.
    """
    count = 0
    with records_file(file) as write:
        for record in records:
            write(record)
            count += 1
    return count


@contextmanager
def records_file(file: str | os.PathLike[str]) -> Iterator[Callable[[Record], None]]:
    """Yield a function that writes a record as a line; without an error the file then appears."""
    with atomic_file(file) as out:

        def write(record: Record) -> None:
            fields = record.model_dump(exclude_none=True)
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")

        yield write


IdentifiedT = TypeVar("IdentifiedT", Document, Augmentation, Question)


def read_unique(file: str | os.PathLike[str], record_type: type[IdentifiedT]) -> list[IdentifiedT]:
    """Return the records of a JSON Lines file without exact repetitions, and say if there are any.

    Args:
        file: The JSON Lines file.
        record_type: What each line is to be.

    Returns:
        The records, in order; at least one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not valid, if there is none, or if one id stands for two different
            records; names both lines.
    """
    kind = record_type.__name__.lower()
    by_id: dict[str, tuple[int, IdentifiedT]] = {}
    num_records = 0
    for number, record in _numbered_records(Path(file), record_type):
        num_records += 1
        record_id = record.document_id if isinstance(record, Augmentation) else record.id
        first, known = by_id.setdefault(record_id, (number, record))
        if known != record:
            raise ValueError(
                f"{file}: id '{record_id}' stands for two different {kind}s, in lines {first} and "
                f"{number}; keep one of them, or give each its own id"
            )
    if not by_id:
        raise ValueError(f"{file}: there is no {kind} in it; `{_MAKERS[kind]}` writes them")
    if num_repeated := num_records - len(by_id):
        print(f"{file}: lines that repeat an earlier one, and count once: {num_repeated}")
    return [record for _, record in by_id.values()]
