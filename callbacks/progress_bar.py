"""Progress of a run: a bar on a terminal, occasional lines in a file."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prag_lightning.documents.terminal import open_console
from prag_lightning.encoding.durations import duration
from prag_lightning.encoding.sharing import SharedSteps

# Most seconds, and largest share of the work, between two lines.
_MOST_SECONDS = 30.0
_SHARE = 0.1
# Interval of checks, also during a step, whether a line is due.
_TICK_SECONDS = 1.0


@dataclass
class Work:
    """A task and its progress.

    Args:
        name: Name of the task.
        unit: The unit that is counted, in the plural.
        total: Number of units.
        size: Total work in tokens or questions; may be an estimate.
        num_steps: Number of steps; None if only units count.
    """

    name: str
    unit: str
    total: int
    size: float
    num_steps: int | None = None
    count: int = 0
    done: float = 0
    steps: int = 0
    start: float | None = None
    elsewhere: int = 0

    def begin(self) -> None:
        """Start the clock, unless it is running."""
        if self.start is None:
            self.start = time.monotonic()

    def advance(self, count: int, done: float) -> None:
        """Count a finished step.

        Args:
            count: Number of units that it finished.
            done: Its tokens or questions.
        """
        self.count += count
        self.done += done
        self.steps += 1

    def leave(self, num_elsewhere: int) -> None:
        """Expect less, as other processes do some of the units.

        Args:
            num_elsewhere: How many they do, in all.
        """
        total = self.total + self.elsewhere
        self.size *= (total - num_elsewhere) / max(1, self.total)
        self.total, self.elsewhere = total - num_elsewhere, num_elsewhere

    @property
    def share(self) -> float:
        """The share that is done, from 0 to 1; 1 only after the last step."""
        is_done = self.count >= self.total if self.num_steps is None else self._is_last
        return 1.0 if is_done else min(self.done / max(self.size, 1), 0.99)

    @property
    def _is_last(self) -> bool:
        assert self.num_steps is not None
        return self.steps >= self.num_steps

    def __str__(self) -> str:
        """Return the progress, the speed, and the remaining time."""
        words = [f"{self.count} of {self.total} {self.unit}"]
        if self.num_steps is not None:
            words.append(f"step {self.steps} of {self.num_steps}")
        elapsed = time.monotonic() - self.start if self.start is not None else 0.0
        if elapsed and self.done:
            what = "tokens" if self.num_steps is not None else self.unit
            words.append(
                f"{self.done / elapsed:,.{0 if self.done > elapsed * 10 else 1}f} {what}/s"
            )
            if self.share < 1:
                words.append(f"{duration(elapsed * (1 / self.share - 1))} to come")
        elif elapsed:
            words.append(f"the first step has taken {duration(elapsed)} so far")
        return ", ".join(words)


class _Lines:
    """Prints a line at each tenth, and every half minute in between, also during a step."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}
        self._work: Work | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_saying, daemon=True)
        self._thread.start()

    def begin(self, work: Work) -> None:
        """Report the progress of this work from now on."""
        self._work = work

    def show(self, work: Work) -> None:
        """Print the progress, if a line is due."""
        with self._lock:
            now = time.monotonic()
            then, share = self._last.setdefault(work.name, (work.start or now, 0.0))
            is_new_tenth = int(work.share / _SHARE + 1e-9) > int(share / _SHARE + 1e-9)
            is_over = work.share == share == 1
            if is_new_tenth or (now - then >= _MOST_SECONDS and not is_over):
                self._last[work.name] = (now, work.share)
                print(f"{work.name}: {work.share:.0%}, {work}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Stop printing."""
        self._ended.set()
        self._thread.join()

    def _keep_saying(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            if self._work is not None:
                self.show(self._work)


class _Bars:
    """Draws a bar for each task."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<19}"),
            BarColumn(),
            TextColumn("{task.fields[far]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def begin(self, work: Work) -> None:
        """Draw the bar, with a clock that also advances during a step."""
        self.show(work)
        self._progress.start_task(self._tasks[work.name])

    def show(self, work: Work) -> None:
        """Draw the progress."""
        if work.name not in self._tasks:
            self._tasks[work.name] = self._progress.add_task(
                work.name, start=False, total=1.0, far=""
            )
        self._progress.update(self._tasks[work.name], completed=work.share, far=str(work))

    def end(self) -> None:
        """Keep the bars as they are, and release the terminal."""
        self._progress.stop()


def open_display(works: list[Work]) -> _Lines | _Bars:
    """Return what shows the progress of ``works``: bars on a terminal, lines in a file."""
    console = open_console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return _Lines()
    bars = _Bars(console)
    for work in works:
        bars.show(work)
    return bars


@contextmanager
def displayed(work: Work) -> Iterator[Callable[[], None]]:
    """Show the progress of some work, whenever the function that is yielded is called."""
    display = open_display([work])
    display.begin(work)
    try:
        yield partial(display.show, work)
    finally:
        display.end()


class UnitProgressBar(ProgressBar):
    """Counts what users count: documents and tokens when encoding, questions when answering.

    If standard error is not a terminal, it prints a line at each tenth of the work and every half
    minute.
    """

    def __init__(self) -> None:
        super().__init__()
        self._display: _Lines | _Bars | None = None
        self._works: list[Work] = []

    def enable(self) -> None:
        """Show the bar."""

    def disable(self) -> None:
        """Show nothing, as on all processes but the first."""
        self._enabled = False

    _enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting documents and tokens."""
        loader: Any = trainer.train_dataloader
        steps = loader.dataset
        size = steps.estimate_num_tokens()
        self._begin([Work("encoding", "documents", len(steps.tasks), size, len(steps))])
        self._sampler: SharedSteps = loader.sampler

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start measuring time."""
        self._start(0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the tokens of this batch, and the documents that it finished."""
        self._works[0].leave(self._sampler.num_elsewhere)
        self._advance(0, len(batch.ends), batch.num_tokens)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the bar as it is."""
        if self._sampler.num_elsewhere:
            # There were fewer steps than for all documents.
            self._works[0].num_steps = self._works[0].steps
            if self._display is not None:
                self._display.show(self._works[0])
        self._end()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting questions of each method."""
        self._count_questions(trainer.test_dataloaders)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting questions of each method."""
        self._count_questions(trainer.predict_dataloaders)

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start measuring the method's time."""
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
        self._advance(dataloader_idx, len(batch.questions), len(batch.questions))

    on_predict_batch_start = on_test_batch_start
    on_predict_batch_end = on_test_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the bars as they are above the table."""
        self._end()

    on_predict_epoch_end = on_test_epoch_end

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Release the terminal."""
        self._end()

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return no metrics: the bar shows none."""
        return {}

    def _count_questions(self, loaders: Any) -> None:
        sets = [loader.dataset for loader in loaders]
        numbers = [len(questions.questions) for questions in sets]
        self._begin([Work(s.name, "questions", n, n) for s, n in zip(sets, numbers, strict=True)])

    def _begin(self, works: list[Work]) -> None:
        self._works = works
        if self._enabled:
            self._display = open_display(works)

    def _start(self, number: int) -> None:
        work = self._works[number]
        if work.start is None:
            work.begin()
            if self._display is not None:
                self._display.begin(work)

    def _advance(self, number: int, count: int, done: float) -> None:
        work = self._works[number]
        work.advance(count, done)
        if self._display is not None:
            self._display.show(work)

    def _end(self) -> None:
        if self._display is not None:
            self._display.end()
            self._display = None
