"""What every reader of a format yields, and how it reads files with clear words about faults."""

import csv
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from prag_lightning.documents.records import Augmentation, Document, Question, first_problem


@dataclass(frozen=True)
class Entry:
    """One entry of a data set: a document, or a question with what comes along with it.

    Args:
        question: None for an entry of a corpus.
        documents: With a question, its documents; another question may bring them again.
        augmentations: Of these documents.
        retrieved: Ids of the documents that were retrieved for the question, best first.
    """

    question: Question | None = None
    documents: tuple[Document, ...] = ()
    augmentations: tuple[Augmentation, ...] = ()
    retrieved: tuple[str, ...] = ()


Reader = Callable[[Path], Iterator[Entry]]


class ForeignRecord(BaseModel):
    """A record as others write it: numbers stand for text, unknown fields are passed over."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_what_is_no_number(cls, value: object) -> object:
        """As text, NaN would be an id or an accepted answer like any other."""
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"{item} is neither a text nor a number")
        return value


RecordT = TypeVar("RecordT", bound=ForeignRecord)
NonEmpty = Annotated[str, Field(min_length=1)]


def document_of(title: str, text: str) -> Document:
    """Return a document whose id is made from its title and text: the same passage has the same."""
    digest = hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()
    return Document(id=digest[:16], title=title, text=text)


def distinct(texts: Iterable[str | None]) -> list[str]:
    """Return the texts that are not empty, each once, in order.

    >>> distinct(["Paris", None, "paris", "Paris", ""])
    ['Paris', 'paris']
    """
    return list(dict.fromkeys(text for text in texts if text))


def existing(path: Path, expected: str) -> Path:
    """Return the path of a file or folder that is there.

    Raises:
        FileNotFoundError: If it is not; says what was expected.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; expected {expected}")
    return path


def read_json_array(file: Path, record_type: type[RecordT], expected: str) -> Iterator[RecordT]:
    """Yield the entries of a file that holds one JSON array.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not such JSON; names line, or entry and field.
    """
    yield from parse_entries(read_json(file, expected), record_type, str(file))


def read_json(file: Path, expected: str) -> Any:
    """Return the JSON of a whole file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not JSON in UTF-8; names line and column.
    """
    content = existing(file, expected).read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return from_json(content)
    except ValueError as error:
        raise ValueError(f"{file}: not valid JSON: {error}") from error


def parse_entries(array: object, record_type: type[RecordT], where: str) -> Iterator[RecordT]:
    """Yield the entries of a JSON array, checked one by one.

    Raises:
        ValueError: If it is no array, or an entry is not valid; names entry and field.
    """
    if not isinstance(array, list):
        raise ValueError(f"{where}: a JSON array was expected, not {type(array).__name__}")
    for number, entry in enumerate(array, start=1):
        yield _validated(entry, record_type, f"{where}: entry {number}")


def decode(content: bytes, where: str) -> str:
    """Return text from UTF-8 bytes.

    Raises:
        ValueError: If they are not UTF-8 or hold a NUL; names the byte.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 at byte {error.start}; convert the file to UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{where}: a NUL at byte {content.index(0)}; is it text? Remove it, or convert the file"
        )
    return text


def read_table(lines: Iterable[bytes], record_type: type[RecordT], where: str) -> Iterator[RecordT]:
    """Yield the rows of a tab-separated table with a header.

    Every line is one row: a field with an unbalanced quotation mark cannot swallow the next ones.

    Args:
        lines: The table's lines; read one at a time.
        record_type: Its fields are the columns that there must be.
        where: The file's name for messages.

    Raises:
        ValueError: If a column is missing, or a line is no such row; names the line.
    """
    header: list[str] = []
    for number, line in enumerate(lines, start=1):
        place = f"{where}:{number}"
        row = _split(decode(line, place).rstrip("\r\n"), place)
        if not header:
            header = row
            _require_columns(header, record_type, place)
        elif len(row) == len(header):
            yield _validated(dict(zip(header, row, strict=True)), record_type, place)
        elif row:
            raise ValueError(f"{place}: {len(row)} fields instead of the header's {len(header)}")


def _require_columns(header: list[str], record_type: type[ForeignRecord], where: str) -> None:
    for name, field in record_type.model_fields.items():
        column = field.alias or name
        if column not in header:
            raise ValueError(
                f"{where}: there is no column '{column}' in the header: {', '.join(header)}"
            )


def _validated(value: object, record_type: type[RecordT], where: str) -> RecordT:
    try:
        return record_type.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from error


def _split(line: str, where: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter="\t", strict=True), [])
    except csv.Error as error:
        raise ValueError(
            f"{where}: {error}; a field that begins with a quotation mark must end with one, "
            "and double those within"
        ) from error
