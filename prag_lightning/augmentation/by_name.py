"""Augmenters by short name or class path, as settings name them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from prag_lightning.augmentation.base import Augmenter

SHORT_NAMES = {
    "template": "prag_lightning.augmentation.template.TemplateAugmenter",
    "transformers": "prag_lightning.augmentation.transformers_augmenter.TransformersAugmenter",
    "endpoint": "prag_lightning.augmentation.endpoint_augmenter.EndpointAugmenter",
}


def make_augmenter(spec: Augmenter | str | Mapping[str, Any]) -> Augmenter:
    """Return the augmenter that a setting means.

    Args:
        spec: An augmenter; the short name or class path of one; or a mapping of ``class_path``, one
            of these, and ``init_args``, what its constructor takes.

    Raises:
        ValueError: If there is no such augmenter, or it does not take these ``init_args``.

    >>> make_augmenter({"class_path": "template", "init_args": {"num_qas": 2}}).settings["num_qas"]
    2
    """
    if isinstance(spec, Augmenter):
        return spec
    settings = {"class_path": spec} if isinstance(spec, str) else dict(spec)
    name, init_args = settings.pop("class_path", None), settings.pop("init_args", None) or {}
    if not isinstance(name, str) or not isinstance(init_args, Mapping) or settings:
        raise ValueError(
            f"augmenter {spec!r}: give a name, or class_path and init_args; names are "
            f"{', '.join(SHORT_NAMES)}"
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(_find_class(name), "augmenter")
    try:
        parsed = parser.parse_object({"augmenter": dict(init_args)})
    except ArgumentError as error:
        raise ValueError(f"augmenter '{name}': {' '.join(str(error).split())}") from error
    defaults = parser.get_defaults()
    for key, value in parsed.items():
        # jsonargparse takes None for a value of any type.
        if value is None and defaults.get(key) is not None:
            raise ValueError(f"augmenter '{name}': {key.partition('.')[2]} needs a value, not null")
    made = parser.instantiate(parsed).augmenter
    assert isinstance(made, Augmenter)
    return made


def _find_class(name: str) -> type[Augmenter]:
    module, _, class_name = SHORT_NAMES.get(name, name).rpartition(".")
    if not module:
        raise ValueError(
            f"there is no augmenter '{name}'; choose {', '.join(SHORT_NAMES)}, or give the class "
            "path of your own, as my_module.MyAugmenter"
        )
    try:
        found = getattr(import_module(module), class_name, None)
    except ImportError as error:
        raise ValueError(f"augmenter '{name}' cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Augmenter)):
        raise ValueError(
            f"'{name}' is no augmenter; give a class derived from "
            "prag_lightning.augmentation.base.Augmenter"
        )
    return found
