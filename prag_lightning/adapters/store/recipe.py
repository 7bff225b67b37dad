"""What made the adapters of a store: the recipe, and the manifest that holds it."""

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig

StoreLayout = Literal["packed", "peft"]
StoreDtype = Literal["float32", "bfloat16", "float16", "int8"]
# The fields that must agree for an adapter to do anything sensible in a base model.
FITTING_FIELDS = ("base_digest", "lora", "modules")
Scalar = str | int | float | bool | None


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        # So that an alpha of 32 is 32.0 here and after it was written and read.
        revalidate_instances="always",
    )


class Recipe(_Frozen):
    """Everything that an adapter depends on besides its document.

    Args:
        base_model: Public name of the base model.
        base_digest: Digest of its weights, as of `digest_tensors`.
        lora: The LoRA settings.
        modules: The adapted layers, as in `AdapterLayout`.
        warm_start: Digest of the warm start, or ``random:SEED``.
        training: The training settings by name.
        prompt_version: Version of the prompt's wording.
        imported_from: Where the adapters were trained, if not here: then nothing is known of how,
            and the last three say so.
    """

    base_model: str
    base_digest: str
    lora: LoraConfig
    modules: tuple[tuple[str, int, int], ...]
    warm_start: str
    training: dict[str, Scalar]
    prompt_version: str
    imported_from: str | None = None

    @property
    def layout(self) -> AdapterLayout:
        """How an adapter of this recipe lies in a flat row."""
        return AdapterLayout(self.modules, self.lora.rank)


class Manifest(_Frozen):
    """First file of a store: the form of its files, and the recipe of its adapters."""

    version: Literal[1] = 1
    layout: StoreLayout
    dtype: StoreDtype
    recipe: Recipe

    def to_json(self) -> bytes:
        """Return the content of ``manifest.json``; its last field is a checksum of the others."""
        fields = self.model_dump(mode="json")
        checksum = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return (json.dumps({**fields, "checksum": checksum}, indent=1) + "\n").encode()


def read_manifest(content: bytes, source: str) -> Manifest:
    """Return the manifest of a store; ``source`` names it in errors.

    Raises:
        ValueError: If it is damaged, was edited, or a newer version wrote it.
    """
    try:
        fields = json.loads(content)
        fields.pop("checksum")
        manifest = Manifest.model_validate_json(json.dumps(fields))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            problem = f"field '{'.'.join(map(str, first['loc']))}': {first['msg']}"
        raise ValueError(
            f"{source}: not a manifest that this version can read ({problem}); it is damaged or "
            "from a newer version: restore it from a copy, or use another store folder"
        ) from error
    if manifest.to_json() != content:
        raise ValueError(
            f"{source}: its checksum is wrong, so it is damaged or was edited; restore it from a "
            "copy, or use another store folder"
        )
    return manifest


def recipe_differences(
    stored: Recipe, asked: Recipe, fields: Collection[str] | None = None
) -> list[str]:
    """Return a line for each setting in which two recipes differ, with both values.

    Args:
        stored: The recipe of a store.
        asked: The recipe of a run.
        fields: Compare only these fields of the recipe; all of them if None.
    """
    lines: list[str] = []
    for name in Recipe.model_fields if fields is None else fields:
        ours, theirs = _settings(stored, name), _settings(asked, name)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key, "nothing") != theirs.get(key, "nothing"):
                lines.append(
                    f"{key}: the store has {ours.get(key, 'nothing')!r}, "
                    f"this run asks for {theirs.get(key, 'nothing')!r}"
                )
    return lines


def _settings(recipe: Recipe, field: str) -> dict[str, object]:
    """Return one field of a recipe by dotted names, its modules in a few words."""
    value = getattr(recipe, field)
    if isinstance(value, LoraConfig):
        return {
            "lora.rank": value.rank,
            "lora.alpha": value.alpha,
            "lora.target_modules": ", ".join(sorted(value.target_modules)),
        }
    if field == "training":
        return {f"training.{key}": setting for key, setting in value.items()}
    if field == "modules":
        return {f"modules.{name}": f"{wide} to {out}" for name, wide, out in value}
    return {field: value}


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return a digest, 32 hexadecimal digits, of named tensors: names, types, shapes and numbers.

    Every number counts: the digest of a model of 1 GB takes about a second.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def digest_text(*texts: str) -> str:
    """Return a digest, 32 hexadecimal digits, of what an adapter was trained on."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
