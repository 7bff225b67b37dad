"""Reading JSON, JSON Lines, Parquet and tables, with error messages that name the place."""

import csv
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from prag_lightning.documents.entries import ForeignRecord, existing
from prag_lightning.documents.records import first_problem

RecordT = TypeVar("RecordT", bound=ForeignRecord)
_MARK = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """An unvalidated entry of a source.

    Args:
        value: The parsed value.
        where: Its place, for error messages.
    """

    value: object
    where: str

    def parse(self, record_type: type[RecordT]) -> RecordT:
        """Validate the row and return it as a record.

        Raises:
            ValueError: If it is not valid; the message names the place and the field.
        """
        return _validated(self.value, record_type, self.where)


def read_rows(file: Path, expected: str, key: str | None = None) -> Iterator[Row]:
    """Yield the entries of a JSON array, a JSON Lines file or a Parquet file.

    Args:
        file: The source.
        expected: Description of the source for the error message if it is missing.
        key: Key of the array, if it is inside an object.

    Yields:
        The entries; JSON Lines and Parquet are read one at a time.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file has none of these formats; the message names the line.
    """
    if existing(file, expected).suffix == ".parquet":
        yield from _read_parquet(file)
    elif _holds_lines(file, key):
        yield from _read_lines(file)
    else:
        array, where = _parse(file.read_bytes(), f"{file}: not valid JSON"), str(file)
        if isinstance(array, dict) and key is not None:
            array, where = array.get(key), f"{file}: {key}"
        if not isinstance(array, list):
            raise ValueError(f"{where}: a JSON array was expected, not {type(array).__name__}")
        for number, entry in enumerate(array, start=1):
            yield Row(entry, f"{where}: entry {number}")


def _holds_lines(file: Path, key: str | None) -> bool:
    """Return whether every line is a separate object."""
    with file.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    if file.suffix in (".jsonl", ".ndjson"):
        return True
    try:
        entry = from_json(first.removeprefix(_MARK))
    except ValueError:
        # An object or an array that spans several lines.
        return False
    return isinstance(entry, dict) and (key is None or key not in entry)


def _read_lines(file: Path) -> Iterator[Row]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{file}:{number}"
                yield Row(_parse(line, f"{where}: not valid JSON"), where)


def _read_parquet(file: Path) -> Iterator[Row]:
    if find_spec("pyarrow") is None:
        raise ValueError(f"{file}: to read Parquet, `pip install pyarrow`")
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        number = 0
        for batch in ParquetFile(file).iter_batches(1000):
            for entry in batch.to_pylist():
                number += 1
                yield Row(entry, f"{file}: row {number}")
    except ArrowException as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: not a Parquet file that can be read: {reason[:200]}") from error


def _parse(content: bytes, problem: str) -> Any:
    try:
        return from_json(content.removeprefix(_MARK))
    except ValueError as error:
        raise ValueError(f"{problem}: {error}") from error


def decode(content: bytes, where: str) -> str:
    """Decode UTF-8 bytes.

    Args:
        content: The bytes.
        where: Their place, for error messages.

    Returns:
        The text, without a byte order mark.

    Raises:
        ValueError: If they are not UTF-8 or contain a NUL; the message names the byte.
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

    Every line is one row, so an unbalanced quotation mark in a field does not affect other rows.

    Args:
        lines: The table's lines; read one at a time.
        record_type: The record type, whose fields are the required columns.
        where: Name of the file for error messages.

    Yields:
        The validated rows.

    Raises:
        ValueError: If a column is missing or a line is not valid; the message names the line.
    """
    header: list[str] = []
    for number, line in enumerate(lines, start=1):
        place = f"{where}:{number}"
        # A carriage return within a line does not end it.
        row = _split(decode(line, place).rstrip("\r\n").replace("\r", " "), place)
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
                f"{where}: there is no column '{column}' in the header: {', '.join(header)[:200]}"
            )


def _validated(value: object, record_type: type[RecordT], where: str) -> RecordT:
    try:
        return record_type.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from error


def _split(line: str, where: str) -> list[str]:
    if '"' not in line:
        return line.split("\t") if line else []
    # Fields may have any length, but csv refuses more than 131,072 characters by default.
    csv.field_size_limit(max(csv.field_size_limit(), len(line)))
    try:
        return next(csv.reader([line], delimiter="\t", strict=True), [])
    except csv.Error as error:
        raise ValueError(
            f"{where}: {error}; a field that begins with a quotation mark must end with one, "
            "and double those within"
        ) from error
