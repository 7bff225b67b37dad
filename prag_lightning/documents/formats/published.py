"""The layout of the published PRAG code, ``data_aug/<data set>/<model>/<type>.json``."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.entries import (
    Entry,
    ForeignRecord,
    NonEmpty,
    document_of,
    existing,
)
from prag_lightning.documents.formats.sources import read_rows
from prag_lightning.documents.records import (
    Augmentation,
    Question,
    QuestionAnswer,
    distinct,
    first_problem,
)

_TOTAL = "total.json"
_EXPECTED = "a file of the published layout, or a folder of such files"


class _Pair(ForeignRecord):
    question: NonEmpty
    answer: NonEmpty
    full_answer: NonEmpty


class _Augmentation(ForeignRecord):
    rewrite: str
    qa: list[_Pair]


class _AugmentedPassage(ForeignRecord):
    # Two field names contain the name of the model that wrote them.
    model_config = ConfigDict(extra="allow")

    passage: str


class _ListedQuestion(ForeignRecord):
    question: str


class _PublishedQuestion(ForeignRecord):
    test_id: NonEmpty
    qid: str | None = None
    question: NonEmpty
    answer: str | list[str]
    type: str | None = None
    golden_passages: tuple[str, ...] = ()
    passages: list[str]
    augment: tuple[_AugmentedPassage, ...] = ()


def read_published(source: Path) -> Iterator[Entry]:
    """Read a file of the published layout, or all files of a folder.

    A passage that was retrieved for several questions becomes one document, with its first
    augmentation. The order of a question's passages is its ranking. Questions listed in
    ``total.json`` come first, in the same order.
    """
    if existing(source, _EXPECTED).is_file():
        yield from _read_file(source, None)
        return
    files = sorted(source.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{source}: no JSON file in it; expected {_EXPECTED}")
    if files == [source / _TOTAL]:
        yield from _read_file(files[0], None)
        return
    entries = [
        entry for file in files if file.name != _TOTAL for entry in _read_file(file, file.stem)
    ]
    yield from sorted(entries, key=_rank_in_total(source / _TOTAL))


def _rank_in_total(file: Path) -> Callable[[Entry], int]:
    """Return a sort key for entries: the position of the question in a list; last if absent."""
    listed = read_rows(file, _EXPECTED) if file.exists() else ()
    ranks = {row.parse(_ListedQuestion).question: rank for rank, row in enumerate(listed)}
    return lambda entry: ranks.get(entry.question.question if entry.question else "", len(ranks))


def _read_file(file: Path, type_name: str | None) -> Iterator[Entry]:
    """Yield the entries of a file; in a folder of files, the file name is the question type."""
    for row in read_rows(file, _EXPECTED):
        yield _entry(row.parse(_PublishedQuestion), type_name, row.where)


def _entry(record: _PublishedQuestion, type_name: str | None, where: str) -> Entry:
    # The published retriever pads short results with empty passages.
    retrieved = [document_of("", passage) for passage in record.passages if passage.strip()]
    gold = [document_of("", passage) for passage in record.golden_passages]
    augmented = [passage for passage in record.augment if passage.passage.strip()]
    return Entry(
        question=Question(
            id=record.qid or "-".join(distinct([type_name, record.test_id])),
            question=record.question,
            answers=distinct([record.answer] if isinstance(record.answer, str) else record.answer),
            document_ids=distinct(document.id for document in gold),
            type=record.type or type_name,
        ),
        documents=(*retrieved, *gold),
        augmentations=tuple(_augmentation(passage, where) for passage in augmented),
        retrieved=tuple(distinct(document.id for document in retrieved)),
    )


def _augmentation(passage: _AugmentedPassage, where: str) -> Augmentation:
    fields = {name: _field_of_model(passage, name, where) for name in ("rewrite", "qa")}
    try:
        augmentation = _Augmentation.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{where}: augment: {first_problem(error)}") from error
    document = document_of("", passage.passage)
    return Augmentation(
        document_id=document.id,
        rewrites=[augmentation.rewrite],
        qas=[QuestionAnswer(**pair.model_dump()) for pair in augmentation.qa],
        text_digest=text_digest(document),
    )


def _field_of_model(passage: _AugmentedPassage, name: str, where: str) -> object:
    fields = passage.model_extra or {}
    found = [field for field in fields if field.endswith(f"_{name}")]
    if len(found) != 1:
        raise ValueError(
            f"{where}: augment: one field '<model>_{name}' was expected, not {found}; "
            "keep one model's"
        )
    return fields[found[0]]
