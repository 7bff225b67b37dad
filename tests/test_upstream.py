"""Names that other libraries keep to themselves stand in one file."""

import ast
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from typing import NamedTuple

import pytest

from tests.test_imports import FILES

FENCE = "upstream"
# Underscores, but documented: those of named tuples, and of Python's os.
DOCUMENTED = {"_asdict", "_fields", "_field_defaults", "_make", "_replace", "_exit"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class OwnClass(NamedTuple):
    bases: tuple[str, ...]
    names: frozenset[str]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in DOCUMENTED | {"_"}


def own_class(node: ast.ClassDef) -> OwnClass:
    """What a class derives from, and the private names that it makes."""
    names = {part.name for part in node.body if isinstance(part, FUNCTIONS)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name | ast.Attribute) and isinstance(part.ctx, ast.Store):
            names.add(part.id if isinstance(part, ast.Name) else part.attr)
    bases = (base.id for base in node.bases if isinstance(base, ast.Name))
    return OwnClass(tuple(bases), frozenset(filter(is_private, names)))


def trees() -> dict[str, ast.Module]:
    texts = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
    return {name: ast.parse(text) for name, text in texts.items() if name != FENCE}


def own_classes(tree: ast.Module) -> dict[str, OwnClass]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {node.name: own_class(node) for node in nodes}


def names_of(name: str, classes: dict[str, OwnClass]) -> frozenset[str]:
    """The private names of a class, and of our classes that it derives from."""
    if name not in classes:
        return frozenset()
    return classes[name].names.union(*(names_of(base, classes) for base in classes[name].bases))


def foreign_names(tree: ast.Module, classes: dict[str, OwnClass]) -> Iterator[str]:
    """Yield uses of private names that are not ours."""
    within = {
        part: node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in ast.walk(node)
    }
    everybodys = frozenset(chain.from_iterable(own.names for own in classes.values()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            parts = ".".join([module, *(alias.name for alias in node.names)]).split(".")
            if any(map(is_private, parts)):
                yield ast.unparse(node)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            of_itself = ast.unparse(node.value) in ("self", "cls", "super()")
            own = names_of(within.get(node, ""), classes) if of_itself else everybodys
            if node.attr not in own:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield ast.unparse(node)


def test_names_that_libraries_keep_to_themselves_stand_in_one_file() -> None:
    parsed = trees()
    classes = {name: own for tree in parsed.values() for name, own in own_classes(tree).items()}
    found = {name: sorted(foreign_names(tree, classes)) for name, tree in parsed.items()}
    assert not {name: uses for name, uses in found.items() if uses}
    fence = ast.parse(FILES[FENCE].read_text(encoding="utf-8"))
    assert len(set(foreign_names(fence, own_classes(fence)))) >= 4


def overrides(owner: type, names: frozenset[str]) -> set[str]:
    """Private names of libraries that a class of ours gives another meaning."""
    foreign = (base for base in owner.__mro__ if not base.__module__.startswith("prag_lightning"))
    return {f"{owner.__name__}.{name}" for base in foreign for name in names & vars(base).keys()}


def test_no_class_replaces_what_a_library_keeps_to_itself() -> None:
    found: set[str] = set()
    for file, tree in trees().items():
        module = import_module(f"prag_lightning.{file}")
        for name, own in own_classes(tree).items():
            if hasattr(module, name):
                found |= overrides(getattr(module, name), own.names)
    assert not found


@pytest.mark.parametrize(
    "use",
    [
        "from jsonargparse._deprecated import anything",
        "from argparse import _ArgumentGroup",
        "import torch._dynamo",
        "torch._dynamo.mark_static(x, 1)",
        "getattr(trainer, '_data_connector')",
        "class Ours(Theirs):\n    def f(self):\n        return self._trainer",
        "class Ours(Theirs):\n    def f(self):\n        return super()._apply(f)",
        "class Ours(Theirs):\n    def f(self):\n        self._ours = other._config._attn",
    ],
)
def test_the_rule_sees_every_way_to_use_a_private_name(use: str) -> None:
    tree = ast.parse(use)
    assert list(foreign_names(tree, own_classes(tree)))


def test_the_rule_lets_private_names_of_our_own_be() -> None:
    tree = ast.parse(
        "class Ours:\n    _given = 1\n    def _run(self):\n        self._kept = self._given\n"
        "class More(Ours):\n    def f(self, other):\n        return super()._run(), other._kept\n"
        "row._asdict()"
    )
    assert not list(foreign_names(tree, own_classes(tree)))


def test_the_rule_sees_a_method_that_replaces_one_of_a_library() -> None:
    from torch import nn

    from prag_lightning.adapters.bank import AdapterBank

    ours = type("Ours", (nn.Module,), {"_apply": None, "_run": None})
    ours.__module__ = "prag_lightning"
    assert overrides(ours, frozenset({"_apply", "_run"})) == {"Ours._apply"}
    assert not overrides(AdapterBank, frozenset({"_gather"}))
