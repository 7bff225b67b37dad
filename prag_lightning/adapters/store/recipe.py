"""The recipe of a store's adapters, and comparing two recipes."""

import hashlib
import json
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig

StoreDtype = Literal["float32", "bfloat16", "float16", "int8"]
Scalar = str | int | float | bool | None
# Fields that must agree for an adapter to fit a base model at all.
_FITTING = ("base_digest", "lora", "modules")
# Fields that must agree for it to answer as it was trained to.
_ANSWERING = (*_FITTING, "warm_start", "prompt_version")
# Fields that must agree for further adapters to be added.
_ENCODING = (*_ANSWERING, "training", "imported_from")


class Frozen(BaseModel):
    """Immutable settings that are the same after writing them to a file and reading them back."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        # Makes an alpha of 32 equal to 32.0, as it is after reading it back.
        revalidate_instances="always",
    )


class Recipe(Frozen):
    """Everything that an adapter depends on besides its document.

    Args:
        base_model: Name or folder of the base model, for display; the digest is compared.
        base_digest: Digest of the base model.
        lora: The LoRA settings.
        modules: The adapted layers, as in `AdapterLayout`.
        warm_start: Digest of the warm start.
        training: The training settings by name.
        prompt_version: Digest of the prompt wording.
        imported_from: Where imported adapters were trained; the previous three fields then say that
            their training is unknown. None for adapters that were trained here.
        base_digest_version: What ``base_digest`` covers: 1 for a sample of the weights, 2 for the
            configuration and all weights.
        sampled_base_digest: Digest of version 1, for comparison with older stores.
        prompt: The prompt wording by name, for users of an exported adapter: the fields of a
            template, ``exemplars`` and ``chat_template``. Only ``prompt_version`` is compared.
    """

    base_model: str
    base_digest: str
    lora: LoraConfig
    modules: tuple[tuple[str, int, int], ...]
    warm_start: str
    training: dict[str, Scalar]
    prompt_version: str
    imported_from: str | None = None
    base_digest_version: Literal[1, 2] = 1
    sampled_base_digest: str | None = None
    prompt: dict[str, str] | None = None

    @property
    def layout(self) -> AdapterLayout:
        """Memory layout of the recipe's adapters."""
        return AdapterLayout(self.modules, self.lora.rank)


def recipe_differences(
    stored: Recipe, asked: Recipe, *, to_write: bool, asking: str = "this run asks for"
) -> list[str]:
    """Return a line for each setting that prevents a run from using a store.

    To read adapters, the base model, warm start and prompt must agree, but not the training. For
    imported adapters only the base model must agree.

    Args:
        stored: Recipe of the store.
        asked: Recipe of the run.
        to_write: Whether the run adds adapters.
        asking: Words for what the other recipe is.
    """
    fields = _ANSWERING if stored.imported_from is None else _FITTING
    lines: list[str] = []
    for name in _ENCODING if to_write else fields:
        ours, theirs = _settings(stored, name), _settings(asked, name)
        if name == "base_digest":
            ours, theirs = _comparable_bases(stored, asked)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key, "nothing") != theirs.get(key, "nothing"):
                lines.append(
                    f"{key}: the store has {ours.get(key, 'nothing')!r}, "
                    f"{asking} {theirs.get(key, 'nothing')!r}"
                )
    return lines


def _comparable_bases(stored: Recipe, asked: Recipe) -> tuple[dict[str, object], dict[str, object]]:
    """Return both bases by the newest digest version that they share, or else by name."""
    if stored.base_digest_version == asked.base_digest_version:
        return {"base_digest": stored.base_digest}, {"base_digest": asked.base_digest}
    ours, theirs = _sampled(stored), _sampled(asked)
    if ours is None or theirs is None:
        return {"base_model": stored.base_model}, {"base_model": asked.base_model}
    return {"base_digest": ours}, {"base_digest": theirs}


def _sampled(recipe: Recipe) -> str | None:
    return recipe.base_digest if recipe.base_digest_version == 1 else recipe.sampled_base_digest


def _settings(recipe: Recipe, field: str) -> dict[str, object]:
    """Return one field of a recipe by dotted names, with its modules summarized."""
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
    """Return a digest, 32 hexadecimal digits, of tensors with their names, dtypes and shapes.

    All values are included; a model of 1 GB takes about a second.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def digest_text(*texts: str) -> str:
    """Return a digest, 32 hexadecimal digits, of the texts that an adapter was trained on."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
