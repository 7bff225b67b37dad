"""Parts that are chosen by name: those of the package, and a user's own."""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

PartT = TypeVar("PartT")


def make_part(
    kind: str, spec: object, base: type[PartT], known: Mapping[str, type[PartT]]
) -> PartT:
    """Return a part of the pipeline from what names it.

    >>> make_part("number", "zero", int, {"zero": int})
    0

    Args:
        kind: What the part is, for messages: ``merge rule``, say.
        spec: An object of the ``base`` class; a short name in ``known``, or the import path of a
            class, such as ``my_rules.Closest``, which is looked for in the working directory, too;
            or a mapping of one such name to the settings of the class, ``{"score": {"temperature":
            2}}``. The keys ``class_path`` and ``init_args`` are understood as well.
        base: The class that every part of this kind derives from.
        known: The package's own classes by short name.

    Raises:
        ValueError: If there is no such part, or it cannot be made with these settings.
    """
    if isinstance(spec, base):
        return spec
    name, settings = _split(kind, spec)
    part_class = known[name] if name in known else _import(kind, name, base, known)
    try:
        return part_class(**settings)
    except TypeError as error:
        raise ValueError(f"{kind} '{name}': {error}") from error


def _split(kind: str, spec: object) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping):
        fields = dict(spec)
        if "class_path" in fields:
            fields = {fields["class_path"]: fields.get("init_args")}
        if len(fields) == 1:
            (name, settings), *_ = fields.items()
            if isinstance(name, str) and isinstance(settings or {}, Mapping):
                return name, dict(settings or {})
    raise ValueError(
        f"a {kind} is given by its name or import path, or by a mapping of that to its settings, "
        f"but this is {spec!r}"
    )


def _import(
    kind: str, name: str, base: type[PartT], known: Mapping[str, type[PartT]]
) -> type[PartT]:
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known))}"
        raise ValueError(f"there is no {kind} '{name}'; {hint}")
    # Files beside the user's configuration can be named without being installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, SyntaxError) as error:
        raise ValueError(f"{kind} '{name}' cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{kind} '{name}' does not derive from {base.__module__}.{base.__name__}")
    return found
