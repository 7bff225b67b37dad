"""The manifest of a store: its file format, and the recipe of its adapters."""

import hashlib
import json
from typing import Literal

from pydantic import ValidationError

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.recipe import Frozen, Recipe, StoreDtype

MANIFEST = "manifest.json"
# In bytes; the manifest for a model with 1,000 adapted layers takes 100,000.
_LIMIT = 2**24


class Manifest(Frozen):
    """The file format of a store, and the recipe of its adapters."""

    version: Literal[1] = 1
    layout: str
    dtype: StoreDtype
    recipe: Recipe

    def to_json(self) -> bytes:
        """Return the contents of ``manifest.json``; the last field is a checksum of the others."""
        return _with_checksum(self.model_dump(mode="json"))


def load_manifest(files: StoreFiles) -> Manifest:
    """Return the manifest of a store.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If it is damaged.
    """
    try:
        content = files.read(MANIFEST, stop=_LIMIT)
    except FileNotFoundError:
        inner = files.path("adapters")
        hint = "`prag fit` makes one"
        if files.exists(f"adapters/{MANIFEST}"):
            hint = f"that of this run is {inner}"
        raise FileNotFoundError(
            f"{files.path(MANIFEST)}: no such file, so there is no store here; {hint}"
        ) from None
    return read_manifest(content, files.path(MANIFEST))


def read_manifest(content: bytes, source: str) -> Manifest:
    """Parse a manifest.

    Args:
        content: Contents of the file.
        source: Name of the file in error messages.

    Raises:
        ValueError: If it is damaged, was edited, or was written by a newer version.
    """
    try:
        fields = json.loads(content)
        fields.pop("checksum")
        manifest = Manifest.model_validate_json(json.dumps(fields))
        # Over the fields in the file: an older manifest lacks fields added since.
        intact = _with_checksum(fields) == content
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            problem = f"field '{'.'.join(map(str, first['loc']))}': {first['msg']}"
        raise ValueError(
            f"{source}: not a manifest that this version can read ({problem}); it is damaged or "
            "from a newer version: restore it from a copy, or use another store folder"
        ) from error
    if not intact:
        raise ValueError(
            f"{source}: its checksum is wrong, so it is damaged or was edited; restore it from a "
            "copy, or use another store folder"
        )
    return manifest


def _with_checksum(fields: dict[str, object]) -> bytes:
    checksum = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**fields, "checksum": checksum}, indent=1) + "\n").encode()
