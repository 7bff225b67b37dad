"""What every reader of a format yields, and records as others write them."""

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


# A format: given a file or folder, it yields the entries of the data set there.
Reader = Callable[[Path], Iterator[Entry]]


class ForeignRecord(BaseModel):
    """A record as others write it.

    Numbers stand for text, null for an optional field that is not there, and unknown fields are
    passed over.
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
        """As text, NaN would be an id or an accepted answer like any other."""
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
    """Return a validator that turns columns into rows.

    Hugging Face's `datasets` writes ``[{"title": "A", "text": "b"}]`` as ``{"title": ["A"],
    "text": ["b"]}``.

    Args:
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
    """A document as others write it: its id may be a number, its title or its text null."""

    id: NonEmpty = Field(validation_alias=AliasChoices("id", "_id"))
    title: str = ""
    text: str | None

    def as_document(self) -> Document:
        """Return it as one of ours."""
        return Document(id=self.id, title=self.title, text=self.text or "")


def document_of(title: str, text: str) -> Document:
    """Return a document whose id is made from its title and text: the same passage has the same.

    Args:
        title: The title.
        text: The text.
    """
    digest = hashlib.sha256(compose(f"{title}\n{text}").encode()).hexdigest()
    return Document(id=digest[:16], title=title, text=text)


def existing(path: Path, expected: str) -> Path:
    """Return the path of a file or folder that is there.

    Args:
        path: The path.
        expected: What should be there, for the message.

    Raises:
        FileNotFoundError: If it is not; says what was expected.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; expected {expected}")
    return path
