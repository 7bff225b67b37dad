"""Finding the reader of a format, by short name or import path."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from prag_lightning.documents.extensions import import_part
from prag_lightning.documents.formats import FORMATS, Reader


def find_reader(name: str, settings: Mapping[str, object]) -> Reader:
    """Return the reader of a format.

    Args:
        name: One of ``FORMATS``, or the import path of a reader: a function from a path to entries,
            or a class whose instances are such functions. The working directory is searched, too.
        settings: Values for the fields of a dataclass reader that replace the defaults.

    Returns:
        The reader.

    Raises:
        ValueError: If there is no such format, or it has no such setting.
    """
    reader = FORMATS.get(name) or _import_reader(name)
    if not settings:
        return reader
    known: set[str] = {one.name for one in fields(reader)} if is_dataclass(reader) else set()
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"--{unknown[0]}: the format '{name}' has no such setting")
    return cast(Reader, replace(cast(Any, reader), **settings))


def _import_reader(name: str) -> Reader:
    reader = import_part("format", name, FORMATS)
    if isinstance(reader, type):
        reader = reader()
    if not callable(reader):
        raise ValueError(f"format '{name}' is {reader!r}, and no function from a path to entries")
    return cast(Reader, reader)
