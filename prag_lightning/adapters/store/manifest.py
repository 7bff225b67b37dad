"""The first file of a store: in which form its adapters are, and what made them."""

import hashlib
import json
from typing import Literal

from pydantic import ValidationError

from prag_lightning.adapters.files import StoreFiles
from prag_lightning.adapters.store.recipe import Frozen, Recipe, StoreDtype

MANIFEST = "manifest.json"
# Bytes; that of a model of 1,000 adapted layers has 100,000.
_LIMIT = 2**24


class Manifest(Frozen):
    """The form of a store's files, and the recipe of its adapters."""

    version: Literal[1] = 1
    layout: str
    dtype: StoreDtype
    recipe: Recipe

    def to_json(self) -> bytes:
        """Return the content of ``manifest.json``; its last field is a checksum of the others."""
        return _with_checksum(self.model_dump(mode="json"))


def load_manifest(files: StoreFiles) -> Manifest:
    """Return the manifest of a store.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    if not files.exists(MANIFEST):
        inner = files.path("adapters")
        hint = "`prag fit` makes one"
        if files.exists(f"adapters/{MANIFEST}"):
            hint = f"that of this run is {inner}"
        raise FileNotFoundError(
            f"{files.path(MANIFEST)}: no such file, so there is no store here; {hint}"
        )
    return read_manifest(files.read(MANIFEST, stop=_LIMIT), files.path(MANIFEST))


def read_manifest(content: bytes, source: str) -> Manifest:
    """Return the manifest in a file's bytes.

    Args:
        content: The bytes.
        source: What the file is called in errors.

    Raises:
        ValueError: If it is damaged, was edited, or a newer version wrote it.
    """
    try:
        fields = json.loads(content)
        fields.pop("checksum")
        manifest = Manifest.model_validate_json(json.dumps(fields))
        # Of what stands there: a manifest made before lacks fields that one has now.
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
