"""Which files a document passes from its file to its adapter, and a question to its score.

    python -m tools.walk

Encodes documents of the embedded world and answers questions about them, in a temporary folder,
and prints the files of the package that were called, in the order of their first calls: while the
data module reads, and during the steps. What is done once for a model, a store or an index, however
many documents there are, is left out.
"""

import inspect
import sys
import threading
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


class Walk(NamedTuple):
    """Files in the order of their first calls, each with the function that was called first."""

    document: dict[str, str]
    question: dict[str, str]


class _Watch(L.Callback):
    """Collects the files that are called; the last of the Trainer's callbacks."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def watch(self) -> None:
        """Look on from now on."""
        # Adapters are written by a thread of their own.
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def pause(self) -> None:
        """Look away."""
        threading.setprofile(None)
        sys.setprofile(None)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look away: the data module has read its files, and a model and a store are prepared."""
        self.pause()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look on: the first step comes."""
        self.watch()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look away: all is written."""
        self.pause()

    on_test_start, on_test_end = on_train_start, on_train_end

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        # Bodies of modules and classes run when they are imported.
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
            place = _place(code.co_filename)
            if place is not None:
                self.files.setdefault(place, code.co_name)


@cache
def _place(file: str) -> str | None:
    """Return a file's path below the repository, if it is the package's."""
    path = Path(file).resolve()
    if any(path.is_relative_to(folder) for folder in _OURS):
        return str(path.relative_to(ROOT))
    return None


def walk(folder: Path) -> Walk:
    """Return the files that a document passes in ``fit``, and a question in ``test``.

    Args:
        folder: Where the world, the store and the results are written.
    """
    write_world(folder, num_people=2)
    data = DocumentDataModule(folder, methods="prag", limit=1)
    build_missing_index(folder, folder / INDEX)
    module = ParametricRAG("demo", max_new_tokens=8)
    watch = _Watch()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[WarmStart(), AdapterWriter(), MergedEvaluation(), watch],
    )
    watch.watch()
    trainer.fit(module, data)
    document, watch.files = watch.files, {}
    watch.watch()
    trainer.test(module, data, verbose=False)
    return Walk(document, watch.files)


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
