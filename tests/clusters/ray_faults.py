"""What kills or disturbs workers of a real Ray cluster; they import it by name."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.outcomes import Failure, Usage
from prag_lightning.augmentation.text_generator import TextGenerator
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
from prag_lightning.documents.records import Augmentation, Document


def die_once(marker: Path) -> None:
    """Kill this process with ``kill -9``, unless another one was before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class DyingModel(TransformersAugmenter):
    """A local model of which one process is killed once some documents are augmented.

    Args:
        model: Folder of the model.
        output: The file of augmentations; one is killed once it has a line.
        settings: Further settings.
    """

    def __init__(self, model: str, output: Path, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._output = output

    def augment_batch(
        self,
        batch: Sequence[Document],
        generator: TextGenerator,
        listener: Listener,
        check: Callable[[], None] = lambda: None,
    ) -> Usage:
        if self._output.exists() and self._output.stat().st_size:
            die_once(self._output.with_name("killed"))
        return super().augment_batch(batch, generator, listener, check)


class FatalAugmenter(Augmenter):
    """Of one document it dies, at another it raises an error; each takes some seconds.

    Args:
        kills: Id of the document that kills.
        fails: Id of the one that raises.
        seconds: How long each takes.
    """

    def __init__(self, kills: str = "", fails: str = "", seconds: float = 0.0) -> None:
        self._kills, self._fails, self._seconds = kills, fails, seconds

    def augment(self, documents: Sequence[Document]) -> Iterator[Augmentation | Failure]:
        for document in documents:
            time.sleep(self._seconds)
            if document.id == self._kills:
                os.kill(os.getpid(), signal.SIGKILL)
            if document.id == self._fails:
                raise RuntimeError("this document\nfails")
            yield Augmentation(document_id=document.id, rewrites=[document.text.upper()], qas=[])


class DiesOnce(L.Callback):
    """Lets one process be killed between two batches of questions.

    Args:
        marker: File that says that one was.
    """

    def __init__(self, marker: Path) -> None:
        self.marker = marker
        self._num_batches = 0

    def on_test_batch_start(self, *_: Any) -> None:
        self._num_batches += 1
        if self._num_batches == 3:
            die_once(self.marker)
