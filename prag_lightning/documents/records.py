"""Records of documents, augmentations and questions, and reading and writing JSON Lines."""

import json
import os
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from prag_lightning.documents.writing import atomic_file


def compose(text: str) -> str:
    """Return a text in Unicode normalization form C, so that equal words compare equal.

    >>> compose("Cafe\u0301") == "Caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text)


Text = Annotated[str, AfterValidator(compose)]
NonEmptyText = Annotated[str, Field(min_length=1), AfterValidator(compose)]


def distinct(texts: Iterable[str | None]) -> list[str]:
    """Return the nonempty texts without duplicates, in order.

    >>> distinct(["Paris", None, "paris", "Paris", ""])
    ['Paris', 'paris']
    """
    return list(dict.fromkeys(text for text in texts if text))


class Record(BaseModel):
    """One line of a JSON Lines file; unknown fields are ignored, and types are not coerced."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)


class Document(Record):
    """The unit of retrieval and encoding. BEIR's ``_id`` is read as ``id``.

    The texts of all records are normalized to Unicode's composed form (NFC); ids are not.
    """

    id: str = Field(min_length=1, validation_alias=AliasChoices("id", "_id"))
    title: Text = ""
    text: Text


class QuestionAnswer(Record):
    """A question about a document, with a short answer and one in a full sentence."""

    question: NonEmptyText
    answer: NonEmptyText
    full_answer: NonEmptyText


class Augmentation(Record):
    """What a language model made of a document; ``text_digest`` identifies the document's text.

    ``unanswerable`` are questions that the document does not answer.
    """

    document_id: str = Field(min_length=1)
    rewrites: list[Text]
    qas: list[QuestionAnswer]
    unanswerable: list[NonEmptyText] = []
    text_digest: str | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = fields(self)
        if not self.unanswerable:
            del written["unanswerable"]
        return written


class Question(Record):
    """A question to evaluate; ``document_ids`` are its gold documents, if known."""

    id: str = Field(min_length=1)
    question: NonEmptyText
    answers: list[Text] = []
    # Duplicates are removed.
    document_ids: Annotated[list[str], AfterValidator(distinct)] = []
    type: str | None = None


RecordT = TypeVar("RecordT", bound=BaseModel)

_MAKERS = {
    "document": "prag data convert",
    "question": "prag data convert",
    "augmentation": "prag augment",
}


def read_records(file: str | os.PathLike[str], record_type: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a JSON Lines file one at a time, skipping blank lines.

    Args:
        file: The JSON Lines file, in UTF-8; any line may start with a byte order mark.
        record_type: Type of the records.

    Yields:
        One record per line.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not valid; the message names the file, the line and the field.
    """
    for _, record in _numbered_records(Path(file), record_type):
        yield record


def _numbered_records(path: Path, record_type: type[RecordT]) -> Iterator[tuple[int, RecordT]]:
    """Yield each record with its line number, starting at 1."""
    with open_lines(path, record_type) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, parse_line(line, record_type, f"{path}:{number}")


def open_lines(path: Path, record_type: type[BaseModel]) -> BinaryIO:
    """Open a file of records.

    Args:
        path: The file.
        record_type: Type of its records, for the error message.

    Raises:
        FileNotFoundError: If it does not exist; the message says which command creates it.
    """
    if not path.is_file():
        kind = record_type.__name__.lower()
        maker = f", as `{_MAKERS[kind]}` writes them" if kind in _MAKERS else ""
        kinds = f"of {kind}s" if issubclass(record_type, Record) else "one record a line"
        raise FileNotFoundError(f"{path}: no such file; expected JSON Lines {kinds}{maker}")
    return path.open("rb")


def parse_line(line: bytes, record_type: type[RecordT], where: str) -> RecordT:
    """Parse a line of a file as a record.

    Args:
        line: JSON in UTF-8.
        record_type: Type of the record.
        where: Place of the line for error messages.

    Returns:
        The record.

    Raises:
        ValueError: If the line is not valid; the message names the place and the field.
    """
    try:
        # Decoded here, since pydantic does not report the position of an invalid byte.
        return record_type.model_validate_json(line.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 at byte {error.start} of the line; convert the file to UTF-8"
        ) from error
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first invalid field and the reason, in one line."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    return f"field '{field}': {problem['msg']}" if field else problem["msg"]


def write_records(file: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write records as JSON Lines atomically.

    Args:
        file: The file; missing folders are created.
        records: The records; fields that are None are left out.

    Returns:
        The number of records.

    Raises:
        OSError: If the file cannot be written, as on a full disk; the message names the file.
    """
    count = 0
    with records_file(file) as write:
        for record in records:
            write(record)
            count += 1
    return count


@contextmanager
def records_file(file: str | os.PathLike[str]) -> Iterator[Callable[[Record], None]]:
    """Yield a function that writes a record; the file appears once the block ends successfully."""
    with atomic_file(file) as out:

        def write(record: Record) -> None:
            out.write(record_line(record))

        yield write


def record_line(record: Record) -> str:
    """Return a record as a line of a file, without fields that are None."""
    return json.dumps(record.model_dump(exclude_none=True), ensure_ascii=False) + "\n"


IdentifiedT = TypeVar("IdentifiedT", Document, Augmentation, Question)


def read_unique(file: str | os.PathLike[str], record_type: type[IdentifiedT]) -> list[IdentifiedT]:
    """Read a JSON Lines file without exact duplicates, and report how many there were.

    Args:
        file: The JSON Lines file.
        record_type: Type of the records.

    Returns:
        The records in order; at least one.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not valid, if there are no records, or if two different records
            share an id; the message names both lines.
    """
    by_id: dict[str, tuple[int, IdentifiedT]] = {}
    num_records = 0
    for number, record in _numbered_records(Path(file), record_type):
        num_records += 1
        first, known = by_id.setdefault(id_of(record), (number, record))
        if known != record:
            raise two_of_one_id(file, record, first, number)
    if not by_id:
        raise nothing_in(file, record_type)
    say_repeated(file, num_records - len(by_id))
    return [record for _, record in by_id.values()]


def id_of(record: Document | Augmentation | Question) -> str:
    """Return the id that a record is found by; an augmentation's is that of its document."""
    return record.document_id if isinstance(record, Augmentation) else record.id


def two_of_one_id(
    file: str | os.PathLike[str],
    record: Document | Augmentation | Question,
    first: int,
    second: int,
) -> ValueError:
    """Return the error for two different records of one id.

    Args:
        file: The file that contains both.
        record: One of them.
        first: Number of the first one's line.
        second: Number of the second one's line.
    """
    kind = type(record).__name__.lower()
    return ValueError(
        f"{file}: id '{id_of(record)}' stands for two different {kind}s, in lines {first} and "
        f"{second}; keep one of them, or give each its own id"
    )


def nothing_in(file: str | os.PathLike[str], record_type: type[BaseModel]) -> ValueError:
    """Return the error for a file without records.

    Args:
        file: The file.
        record_type: Type of the records that it should contain.
    """
    kind = record_type.__name__.lower()
    return ValueError(f"{file}: there is no {kind} in it; `{_MAKERS[kind]}` writes them")


def say_repeated(file: str | os.PathLike[str], num_repeated: int) -> None:
    """Report how many lines of a file repeat an earlier one, if any do.

    Args:
        file: The file.
        num_repeated: How many.
    """
    if num_repeated:
        print(f"{file}: lines that repeat an earlier one, and count once: {num_repeated}")
