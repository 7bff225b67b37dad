"""PopQA (arXiv:2212.10511): a table of questions about popular and less popular entities."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import from_json

from prag_lightning.documents.entries import Entry, ForeignRecord, NonEmpty, existing
from prag_lightning.documents.formats.sources import read_table
from prag_lightning.documents.records import Question, distinct


def _parse_list(field: str) -> object:
    """Parse a list written as JSON or as a Python literal."""
    for parse in (from_json, ast.literal_eval):
        try:
            parsed: object = parse(field)
            # Rejects lone surrogates, which cannot be written as UTF-8, and infinity.
            json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        return parsed
    raise ValueError(f"'{field[:80]}' is no list in JSON or Python")


class _Row(ForeignRecord):
    id: NonEmpty
    question: NonEmpty
    obj: NonEmpty
    o_aliases: Annotated[list[str], BeforeValidator(_parse_list)]


def read_popqa(source: Path) -> Iterator[Entry]:
    """Read ``popQA.tsv``: questions without documents.

    The object and its aliases are accepted, as in the published code.
    """
    file = source / "popQA.tsv" if source.is_dir() else source
    with existing(file, "popQA.tsv").open("rb") as lines:
        for row in read_table(lines, _Row, str(file)):
            answers = distinct([row.obj, *row.o_aliases])
            yield Entry(Question(id=row.id, question=row.question, answers=answers))
