"""Who may import whom, and what a word on the command line must not wait for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import prag_lightning
from prag_lightning.cli.main import COMMANDS

PACKAGE = Path(prag_lightning.__file__).parent
HEAVY = {"torch", "lightning", "transformers", "peft", "tantivy", "httpx", "numpy", "matplotlib"}
# The parts, lowest first: each imports only parts before it, imports for types included.
ORDER = [
    "upstream",
    "documents",
    "adapters",
    "language_model",
    "retrieval",
    "encoding",
    "answering",
    "augmentation",
    "module",
    "demo",
    "datamodule",
    "answerer",
    "evaluation",
    "callbacks",
    "clusters",
    "cli",
    "__main__",
]


def module_names() -> dict[str, Path]:
    """All files of the package, by what they are imported as, without its own name."""
    files = (path for path in PACKAGE.rglob("*.py") if path.parent.name != "configs")
    names = {}
    for path in (*files, *(PACKAGE / "callbacks").glob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


FILES = {name: path for name, path in module_names().items() if name}


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports of the package, within functions and for types, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # What is imported from a package may be a file of it.
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in full:
            package, _, rest = name.partition(".")
            if package == "prag_lightning":
                yield rest if rest in FILES else rest.rpartition(".")[0]


GRAPH = {name: {found for found in imports(path) if found} for name, path in FILES.items()}


def part_of(name: str) -> str:
    return name.partition(".")[0]


def test_every_file_belongs_to_a_part() -> None:
    assert {part_of(name) for name in FILES} == set(ORDER)
    assert len(FILES) > 100


@pytest.mark.parametrize("part", ORDER)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    below = ORDER[: ORDER.index(part) + 1]
    wrong = {
        f"{name} imports {found}"
        for name, found_names in GRAPH.items()
        if part_of(name) == part
        for found in found_names
        if part_of(found) not in below
    }
    assert not wrong


def folder_graph() -> dict[str, set[str]]:
    """Return which folder's files import files of which other folders, folders in folders too."""
    folders: dict[str, set[str]] = {}
    for name, found_names in GRAPH.items():
        folder = folder_of(name)
        own = folders.setdefault(folder, set())
        own |= {folder_of(found) for found in found_names} - {folder}
    return folders


def folder_of(name: str) -> str:
    """Return the folder of a file, a package's own name for its ``__init__``."""
    return name if FILES[name].name == "__init__.py" else name.rpartition(".")[0] or name


def test_no_folder_imports_itself_by_way_of_others() -> None:
    assert list(TopologicalSorter(folder_graph()).static_order())


def test_callbacks_never_import_each_other() -> None:
    callbacks = {name for name in GRAPH if name.startswith("callbacks.")}
    assert len(callbacks) >= 3
    assert not [
        name for name in callbacks if any(map("callbacks".__eq__, map(part_of, GRAPH[name])))
    ]


def test_only_the_command_line_and_what_runs_on_clusters_import_callbacks() -> None:
    users = {name for name, found in GRAPH.items() if "callbacks" in map(part_of, found)}
    assert {part_of(name) for name in users} == {"callbacks", "clusters", "cli"}


def test_no_file_imports_itself_by_way_of_others() -> None:
    # Raises CycleError, which names the files.
    order = list(TopologicalSorter(GRAPH).static_order())
    assert order.index("module") < order.index("cli.trainer")


def test_the_rule_sees_imports_within_functions_and_for_types(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "import prag_lightning.language_model.loss\n"
        "if TYPE_CHECKING:\n    from prag_lightning.module import ParametricRAG\n"
        "def f():\n    from prag_lightning.documents.records import Document\n"
        "    from prag_lightning.language_model import prompts\n"
    )
    expected = {"language_model.loss", "module", "documents.records", "language_model.prompts"}
    assert set(imports(file)) == expected


def seconds_after(code: str) -> float:
    """CPU seconds of a fresh interpreter from its start until it has run ``code``, at best."""
    check = f"; import time, sys; assert not {HEAVY!r} & sys.modules.keys(), sys.modules.keys()"
    ends = "; print(time.process_time(), file=sys.stderr)"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code + check + ends], capture_output=True, text=True, check=True
        )
        for _ in range(3)
    ]
    return min(float(run.stderr) for run in runs)


def test_importing_the_package_takes_no_time_and_loads_nothing_heavy() -> None:
    assert seconds_after("import prag_lightning") - seconds_after("pass") < 0.1


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_come_at_once_and_load_nothing_heavy(word: str) -> None:
    assert seconds_after(f"from prag_lightning.cli.main import main; main([{word!r}])") < 0.3


def test_the_modules_of_commands_load_nothing_heavy() -> None:
    modules = sorted({target.partition(":")[0] for target, _ in COMMANDS.values()})
    assert seconds_after(f"import {', '.join(modules)}") < 1.0
    for target, _ in COMMANDS.values():
        module, _, name = target.partition(":")
        assert hasattr(import_module(module), name)


def test_what_the_package_offers_by_name_is_loaded_only_when_it_is_asked_for() -> None:
    assert prag_lightning.Answerer is import_module("prag_lightning.answerer").Answerer
    with pytest.raises(AttributeError, match="no attribute 'Answer'"):
        _ = prag_lightning.Answer
