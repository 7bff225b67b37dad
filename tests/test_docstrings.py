"""What docstrings say: arguments of public functions, and shapes of tensors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import prag_lightning

PACKAGE = Path(prag_lightning.__file__).parent
FILES = [*PACKAGE.rglob("*.py"), *(PACKAGE / "callbacks").glob("*.py")]
# Called by Lightning, which says what it gives them.
HOOKS = ("on_", "setup", "training_step", "test_step")


def public_functions(node: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[tuple[str, str]]:
    """Yield the signature and the docstring of every public function of a file."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, child)
        elif isinstance(child, ast.FunctionDef):
            documented = owner if child.name == "__init__" and owner else child
            hidden = child.name.startswith("_") and documented is child
            if not hidden and not child.name.startswith(HOOKS):
                returns = "" if child.returns is None else ast.unparse(child.returns)
                signature = f"{ast.unparse(child.args)} -> {returns}"
                yield signature, ast.get_docstring(documented) or ""


FUNCTIONS = [
    found
    for file in sorted(set(FILES))
    for found in public_functions(ast.parse(file.read_text(encoding="utf-8")))
]


def share(functions: list[tuple[str, str]], words: tuple[str, ...]) -> float:
    return sum(any(word in doc for word in words) for _, doc in functions) / len(functions)


def num_arguments(signature: str) -> int:
    tree = ast.parse(f"def f({signature.partition(' -> ')[0]}): ...").body[0]
    assert isinstance(tree, ast.FunctionDef)
    names = [a.arg for a in (*tree.args.args, *tree.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_public_functions_of_two_arguments_or_more_say_what_they_take() -> None:
    several = [found for found in FUNCTIONS if num_arguments(found[0]) >= 2]
    assert len(several) > 300
    assert share(several, ("Args:",)) >= 0.9


def test_functions_of_tensors_say_their_shapes() -> None:
    of_tensors = [found for found in FUNCTIONS if "Tensor" in found[0]]
    assert len(of_tensors) > 40
    assert share(of_tensors, ("hape", "scalar")) >= 0.9
