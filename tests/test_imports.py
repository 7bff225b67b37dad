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
from prag_lightning.cli import COMMANDS

PACKAGE = Path(prag_lightning.__file__).parent
HEAVY = {"torch", "lightning", "transformers", "peft", "tantivy", "httpx", "numpy", "matplotlib"}
# For each part, what its files import of other parts; a package stands for all in it.
ALLOWED: dict[str, set[str]] = {
    # Leaves.
    "adapters": set(),
    "attention": set(),
    "chat_frame": set(),
    "counting": set(),
    "exit_status": set(),
    "loss": set(),
    "metrics": set(),
    "one_line_parser": set(),
    "progress": set(),
    "prompts": {"chat_frame", "templates"},
    "quiet": set(),
    "retry_after": set(),
    "run_folder": set(),
    "suggestion": set(),
    "templates": set(),
    # Upwards from them.
    "answerer": {
        "adapters",
        "base_model",
        "data",
        "merging",
        "metrics",
        "module",
        "prompts",
        "retrieval.base",
        "run_settings",
        "scores",
        "templates",
    },
    "answering": {"base_model", "data.batches", "loss"},
    "augmentation": {
        "base_model",
        "data.appending",
        "data.documents",
        "data.folder",
        "exit_status",
        "prompts",
        "quiet",
        "retry_after",
    },
    "base_model": {"attention", "demo"},
    "data": {"base_model", "counting", "demo", "prompts", "retrieval", "strategies", "templates"},
    "demo": {"augmentation.prompts", "data.documents", "data.exemplars", "templates"},
    "fit_records": {"data.appending", "data.documents"},
    "reporting": {"adapters", "data.documents", "exit_status", "fit_records", "scores"},
    "run_settings": {
        "adapters",
        "data.folder",
        "demo",
        "retrieval.base",
        "run_folder",
    },
    "retrieval": {"counting", "data.documents", "data.folder", "retry_after"},
    "merging": {"adapters", "data.batches", "metrics", "retrieval.base", "scores"},
    "scores": {"data.documents", "metrics"},
    "slots": {"adapters", "base_model", "data.batches", "loss"},
    "strategies": {"exit_status"},
    "tuning": {"data.batches", "data.encoding"},
    "module": {
        "adapters",
        "answering",
        "attention",
        "base_model",
        "data.batches",
        "prompts",
        "slots",
        "tuning",
    },
    "callbacks": {
        "adapters",
        "answering",
        "data",
        "fit_records",
        "merging",
        "metrics",
        "module",
        "scores",
        "strategies",
        "tuning",
    },
    # Commands.
    "__main__": {"cli"},
    "ask_command": {
        "answerer",
        "augmentation.template",
        "data.documents",
        "one_line_parser",
        "quiet",
        "run_folder",
        "trainer_cli",
    },
    "cli": {"exit_status", "one_line_parser", "suggestion", "trainer_cli"},
    "shipped_configs": {"exit_status", "suggestion"},
    "sweep": {
        "adapters",
        "data.datamodule",
        "exit_status",
        "module",
        "quiet",
        "scores",
        "shipped_configs",
        "suggestion",
        "trainer_cli",
    },
    "store_commands": {"adapters", "base_model", "counting", "data.formats.entries"},
    "trainer_cli": {
        "callbacks",
        "data.datamodule",
        "exit_status",
        "module",
        "one_line_parser",
        "progress",
        "quiet",
        "run_folder",
        "shipped_configs",
        "strategies",
    },
}


def module_names() -> dict[str, Path]:
    """All files of the package, by what they are imported as, without its own name."""
    files = (path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "configs")
    names = {}
    for path in (*files, *(PACKAGE / "callbacks").glob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


FILES = {name: path for name, path in module_names().items() if name}


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports of the package, but for annotations only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
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


def test_every_file_belongs_to_a_part_whose_imports_are_laid_down() -> None:
    assert {part_of(name) for name in FILES} <= ALLOWED.keys()
    assert len(FILES) > 40


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    wrong = {
        f"{name} imports {found}"
        for name, found_names in GRAPH.items()
        if part_of(name) == part
        for found in found_names
        if part_of(found) != part and not {found, part_of(found)} & ALLOWED[part]
    }
    assert not wrong


def test_callbacks_never_import_each_other() -> None:
    callbacks = {name for name in GRAPH if name.startswith("callbacks.")}
    assert len(callbacks) >= 3
    assert not [
        name for name in callbacks if any(map("callbacks".__eq__, map(part_of, GRAPH[name])))
    ]


def test_only_the_command_line_imports_callbacks() -> None:
    users = {name for name, found in GRAPH.items() if "callbacks" in map(part_of, found)}
    assert users == {"callbacks", "trainer_cli"}


def test_no_file_imports_itself_by_way_of_others() -> None:
    # Raises CycleError, which names the files.
    order = list(TopologicalSorter(GRAPH).static_order())
    assert order.index("module") < order.index("trainer_cli")


def test_the_rule_sees_imports_within_functions_and_not_those_for_types(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "import prag_lightning.loss\n"
        "if TYPE_CHECKING:\n    from prag_lightning.module import ParametricRAG\n"
        "def f():\n    from prag_lightning.data.documents import Document\n"
        "    from prag_lightning import prompts\n"
    )
    assert set(imports(file)) == {"loss", "data.documents", "prompts"}


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
    assert seconds_after(f"from prag_lightning.cli import main; main([{word!r}])") < 0.3


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
