"""The progress bar: documents when encoding, questions when answering."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return how many are done in a second, over the whole run."""
        if not task.elapsed:
            return Text("")
        return Text(f"{task.completed / task.elapsed:.1f}/s")


class UnitProgressBar(ProgressBar):
    """Counts what users count, documents and questions, and not batches."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def enable(self) -> None:
        """Show the bar."""

    def disable(self) -> None:
        """Show nothing, as on all processes but the first."""
        self._enabled = False

    _enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count documents."""
        self._begin()
        dataset: Any = trainer.train_dataloader
        self._tasks = {0: self._add("encoding documents", len(dataset.dataset.tasks))}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin to measure the time."""
        self._start(0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the documents that this batch finished."""
        self._advance(0, len(batch.ends))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""
        self._end()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count questions, one bar for each method."""
        self._count_questions(trainer.test_dataloaders)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Begin to measure the method's time."""
        self._start(dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the questions of this batch."""
        self._advance(dataloader_idx, len(batch.questions))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""
        self._end()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count questions, one bar for each method."""
        self._count_questions(trainer.predict_dataloaders)

    def on_predict_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Begin to measure the method's time."""
        self._start(dataloader_idx)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the questions of this batch."""
        self._advance(dataloader_idx, len(batch.questions))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""
        self._end()

    def _count_questions(self, loaders: Any) -> None:
        self._begin()
        sets = [loader.dataset for loader in loaders]
        self._tasks = {i: self._add(s.name, len(s.questions)) for i, s in enumerate(sets)}

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._end()

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return nothing: the bar holds no metrics."""
        return {}

    def _begin(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<19}"),
            BarColumn(),
            MofNCompleteColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._enabled,
        )
        self._progress.start()

    def _add(self, description: str, total: int) -> TaskID:
        assert self._progress is not None
        return self._progress.add_task(description, total=total, start=False)

    def _start(self, number: int) -> None:
        assert self._progress is not None
        task = self._tasks[number]
        if self._progress.tasks[task].start_time is None:
            self._progress.start_task(task)

    def _advance(self, number: int, count: int) -> None:
        assert self._progress is not None
        task = self._tasks[number]
        self._progress.advance(task, count)
        if self._progress.tasks[task].finished:
            self._progress.stop_task(task)

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
