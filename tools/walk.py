"""Lists the source files that process a document or a question.

    python -m tools.walk

Encodes documents of the embedded world and answers questions about them, in a temporary folder,
twice: the second time with more documents and questions. A file processes documents if one of its
functions is called more often for more documents, and likewise for questions. One-time work is thus
left out: reading settings, preparing a model, a store or an index, writing a table of results. The
files are printed in the order of their first calls.
"""

import inspect
import sys
import threading
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple

import lightning as L

from prag_lightning import (
    AdapterWriter,
    DocumentDataModule,
    MergedEvaluation,
    ParametricRAG,
    WarmStart,
)
from prag_lightning.demo.world import write_world
from prag_lightning.retrieval.default_index import INDEX, build_missing_index

ROOT = Path(__file__).resolve().parents[1]
_OURS = (ROOT / "prag_lightning", ROOT / "callbacks")


class Function(NamedTuple):
    """A function of the package."""

    file: str
    name: str


class Walk(NamedTuple):
    """Files in the order of their first calls, each with the function that was called first."""

    document: dict[str, str]
    question: dict[str, str]


class _Calls:
    """Counts the calls of the package's functions within a context, in all threads."""

    def __init__(self) -> None:
        self.counts: Counter[Function] = Counter()

    def __enter__(self) -> "_Calls":
        # Adapters are written by a separate thread.
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        # Skip bodies of modules and classes, which run on import, and comprehensions, which are
        # part of their function.
        is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name[0] != "<"
        if event == "call" and is_function:
            place = _place(code.co_filename)
            if place is not None:
                self.counts[Function(place, code.co_name)] += 1


@cache
def _place(file: str) -> str | None:
    """Return a file's path within the repository, if it belongs to the package."""
    path = Path(file).resolve()
    if any(path.is_relative_to(folder) for folder in _OURS):
        return str(path.relative_to(ROOT))
    return None


def _run(folder: Path, command: str, limit: int = 1) -> _Calls:
    """Return the calls of ``fit`` or ``test`` on a folder's documents and questions."""
    # One at a time, so that no call handles several items.
    data = DocumentDataModule(
        folder, methods="prag", limit=limit, question_batch_size=1, num_slots=1, num_qas=2
    )
    module = ParametricRAG("demo", max_new_tokens=8)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[WarmStart(), AdapterWriter(), MergedEvaluation()],
    )
    with _Calls() as calls:
        if command == "fit":
            trainer.fit(module, data)
        else:
            trainer.test(module, data, verbose=False)
    return calls


def _passed(fewer: _Calls, more: _Calls) -> dict[str, str]:
    """Return the files with a function that is called more often for more items."""
    files: dict[str, str] = {}
    for function, count in more.counts.items():
        if count > fewer.counts[function]:
            files.setdefault(function.file, function.name)
    return files


def walk(folder: Path) -> Walk:
    """Return the files that process a document in ``fit``, and a question in ``test``.

    Args:
        folder: Folder for the worlds, the stores and the results.
    """
    fewer, more = folder / "fewer", folder / "more"
    for world, num_people in ((fewer, 2), (more, 4)):
        write_world(world, num_people)
    build_missing_index(more, more / INDEX)
    return Walk(
        _passed(_run(fewer, "fit"), _run(more, "fit")),
        _passed(_run(more, "test"), _run(more, "test", limit=3)),
    )


def main() -> None:
    """Print both walks."""
    with TemporaryDirectory() as folder:
        found = walk(Path(folder))
    for name, files in zip(("document", "question"), found, strict=True):
        print(f"\na {name} passes {len(files)} files")
        for number, (file, function) in enumerate(files.items(), start=1):
            print(f"{number:3}  {file:<55} {function}")


if __name__ == "__main__":
    main()
