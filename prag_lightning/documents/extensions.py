"""Creating parts by name: those of the package, and users' own."""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

PartT = TypeVar("PartT")


def make_part(
    kind: str,
    spec: object,
    base: type[PartT],
    known: Mapping[str, str],
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> PartT:
    """Create a part of the pipeline from its name and settings.

    Args:
        kind: Kind of part for error messages, such as ``merge rule``.
        spec: An instance of ``base``; a short name in ``known``; the import path of a class, such
            as ``my_rules.Closest``, which is also searched for in the working directory; or a
            mapping of such a name to the settings of the class, such as ``{"score":
            {"temperature": 2}}``. The keys ``class_path`` and ``init_args`` work as well.
        base: Base class of all parts of this kind.
        known: Import paths of the package's own classes by short name.
        defaults: Default settings by short name that differ from those of the class.

    Raises:
        ValueError: If there is no such part, or the settings are invalid.
    """
    if isinstance(spec, base):
        return spec
    name, settings = _split(kind, spec, known)
    part_class = _find(kind, name, base, known)
    return _make(f"{kind} '{name}'", part_class, {**(defaults or {}).get(name, {}), **settings})


def _split(kind: str, spec: object, known: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str):
        if spec.startswith("{"):
            raise ValueError(
                f"{kind} '{spec}' is no mapping; in YAML a space stands behind each colon, as in "
                "{name: {setting: 1}}"
            )
        return spec, {}
    if isinstance(spec, Mapping):
        fields = dict(spec)
        if "class_path" in fields and fields.keys() <= {"class_path", "init_args"}:
            fields = {fields["class_path"]: fields.get("init_args")}
        if len(fields) == 1:
            (name, settings), *_ = fields.items()
            if isinstance(name, str) and (settings is None or isinstance(settings, Mapping)):
                return name, dict(settings or {})
    raise ValueError(
        f"{kind} {spec!r}: give a name or an import path, or a mapping of that to settings; names "
        f"are {', '.join(sorted(known))}"
    )


def _find(kind: str, name: str, base: type[PartT], known: Mapping[str, str]) -> type[PartT]:
    found = import_part(kind, name, known)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{kind} '{name}' does not derive from {base.__module__}.{base.__name__}")
    return found


def import_part(kind: str, name: str, known: Mapping[str, object]) -> object:
    """Return the object that a short name or an import path refers to.

    Args:
        kind: Kind of part for error messages.
        name: A short name or an import path, which is also searched for in the working directory.
        known: Import paths of the package's own parts by short name. If the caller has already
            checked these, only the names are used, for suggestions.

    Raises:
        ValueError: If it is not an import path, or cannot be imported.
    """
    path = str(known.get(name, name))
    module_name, _, attribute = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known))}"
        raise ValueError(f"there is no {kind} '{name}'; {hint}")
    # Appended at the end, so that a local file does not shadow a library of the same name.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, TypeError, SyntaxError) as error:
        raise ValueError(f"{kind} '{name}' cannot be imported: {error}") from error


def _make(what: str, part_class: type[PartT], settings: dict[str, Any]) -> PartT:
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(part_class, "part")
    known = list(dict.fromkeys(key.split(".")[1] for key, _ in parser.get_defaults().items()))
    for name in settings:
        if name.partition(".")[0] not in known:
            there = f"its settings are {', '.join(known)}" if known else "it has no settings"
            raise ValueError(f"{what} has no setting '{name}'; {there}")
    try:
        parsed = parser.parse_object({"part": settings})
    except ArgumentError as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error
    defaults = parser.get_defaults()
    for key, value in parsed.items():
        # jsonargparse accepts None as a value of any type.
        if value is None and defaults.get(key) is not None:
            raise ValueError(f"{what}: {key.partition('.')[2]} needs a value, not null")
    made = parser.instantiate(parsed).part
    assert isinstance(made, part_class)
    return made
