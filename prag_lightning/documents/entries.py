"""The entries that readers yield, and base classes for records in external formats."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from prag_lightning.documents.records import Augmentation, Document, Question, compose


@dataclass(frozen=True)
class Entry:
    """One entry of a data set: a document, or a question with its documents.

    Args:
        question: The question; None for an entry of a corpus.
        documents: The documents that come with the question; other questions may repeat them.
        augmentations: Augmentations of these documents.
        retrieved: Ids of the documents retrieved for the question, best first.
    """

    question: Question | None = None
    documents: tuple[Document, ...] = ()
    augmentations: tuple[Augmentation, ...] = ()
    retrieved: tuple[str, ...] = ()


# Reads a file or folder of a format, and yields the entries of the data set.
Reader = Callable[[Path], Iterator[Entry]]


class ForeignRecord(BaseModel):
    """A record in an external format.

    Numbers are accepted as text, null as a missing optional field, and unknown fields are ignored.
    """

    model_config = ConfigDict(
        frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: object) -> object:
        if not isinstance(fields, dict):
            return fields
        required = {
            field.alias or name for name, field in cls.model_fields.items() if field.is_required()
        }
        return {n: value for n, value in fields.items() if value is not None or n in required}

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_what_is_no_number(cls, value: object) -> object:
        """Reject NaN, which would otherwise become the text of an id or an answer."""
        items = [value]
        while items:
            item = items.pop()
            if isinstance(item, list | tuple):
                items += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"{item} is neither a text nor a number")
        return value


NonEmpty = Annotated[str, Field(min_length=1)]


def rows_of(*columns: str) -> BeforeValidator:
    """Return a validator that converts columns to rows.

    Hugging Face's `datasets` writes ``[{"title": "A", "text": "b"}]`` as ``{"title": ["A"],
    "text": ["b"]}``.

    Args:
        columns: Names of a row's fields, in order.
        columns: The names of a row's fields, in order.
    """

    def to_rows(value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = [value.get(name) for name in columns]
        if not all(isinstance(field, list) for field in fields):
            return value
        return list(zip(*fields, strict=True))

    return BeforeValidator(to_rows)


class ForeignDocument(ForeignRecord):
    """A document in an external format: its id may be a number, and its title or text null."""

    id: NonEmpty = Field(validation_alias=AliasChoices("id", "_id"))
    title: str = ""
    text: str | None

    def as_document(self) -> Document:
        """Convert it to a `Document`."""
        return Document(id=self.id, title=self.title, text=self.text or "")


def document_of(title: str, text: str) -> Document:
    """Return a document with an id derived from its title and text.

    Args:
        title: The title.
        text: The text.
    """
    digest = hashlib.sha256(compose(f"{title}\n{text}").encode()).hexdigest()
    return Document(id=digest[:16], title=title, text=text)


def existing(path: Path, expected: str) -> Path:
    """Return the path of a file or folder, after checking that it exists.

    Args:
        path: The path.
        expected: Description of the file or folder for the error message.

    Raises:
        FileNotFoundError: If it does not exist; the message says what was expected.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; expected {expected}")
    return path
