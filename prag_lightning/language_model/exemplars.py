"""Reading few-shot examples for prompts from a JSON file."""

from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from prag_lightning.documents.records import first_problem
from prag_lightning.language_model.embedded import DEMO
from prag_lightning.language_model.templates import Exemplar

_DEMO_FILE = Path(__file__).parents[1] / "demo" / "exemplars.json"
_LIST = TypeAdapter(list[Exemplar])


def read_exemplars(file: str | Path | Sequence[Exemplar] | None) -> tuple[Exemplar, ...]:
    """Read exemplars from a JSON list of objects with ``question`` and ``answer``.

    Args:
        file: The file; ``demo`` gives the embedded exemplars, and None gives none. A sequence of
            exemplars is returned as it is.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty or has other contents.
    """
    if file is None:
        return ()
    if not isinstance(file, str | Path):
        return tuple(file)
    path = _DEMO_FILE if file == DEMO else Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a JSON list of exemplars")
    try:
        # Editors on Windows may write a byte order mark.
        exemplars = _LIST.validate_json(path.read_bytes().removeprefix(BOM_UTF8), strict=True)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from error
    if not exemplars:
        raise ValueError(f"{path}: holds no exemplars; leave --data.exemplars out for none")
    return tuple(exemplars)
