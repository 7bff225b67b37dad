"""Encoding with the workers of a Ray cluster: `prag fit --engine ray`, and the same from Python."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning import Callback

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.callbacks.adapter_writer import AdapterWriter
from prag_lightning.callbacks.progress_bar import Work, displayed
from prag_lightning.callbacks.warm_start import WarmStart
from prag_lightning.clusters.block_encoder import BlockEncoder, BlockResult
from prag_lightning.clusters.blocks import Block, make_blocks
from prag_lightning.clusters.ray_cluster import open_pool, require_ray
from prag_lightning.clusters.ray_pool import RayPool
from prag_lightning.clusters.receipts import Comparison, compare_receipts
from prag_lightning.clusters.worker_parts import WorkerParts, find_callback, require_no_weights
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.outcome import Outcome, plan_lines
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.encoding.planning import EncodingPlan
from prag_lightning.module import ParametricRAG

__all__ = ["RayWorkers", "encode_with_ray"]

# Documents that a worker was refused, because one that just died had claimed them, are tried again.
_ROUNDS = 3
_LOCAL = "; encode in this process, without ray"


def encode_with_ray(
    module: ParametricRAG,
    data: DocumentDataModule,
    workers: RayWorkers = RayWorkers(),  # noqa: B008 - frozen
    *,
    root_dir: str | Path = ".",
    callbacks: Sequence[Callback] | None = None,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 0,
    shows_progress: bool = True,
    on_begin: Callable[[], None] = lambda: None,
) -> Outcome:
    """Encode documents with the workers of a Ray cluster, and return what became of them.

    Every worker loads the base, and gets blocks of the documents that the store lacks. Their
    adapters are those of a local run. All machines need the same folders: that of the store, and
    that of the base, unless it has a hub name.

    Args:
        module: The module; its base is loaded by the workers only.
        data: The documents, and how they are encoded.
        workers: The workers. A notebook that has called ``ray.init`` stays connected as it is.
        root_dir: Root folder of the run, where the store is, if module and callbacks name none.
        callbacks: Callbacks of every worker, an `AdapterWriter` among them; by default also a
            `WarmStart`.
        trainer: Further settings of every worker's Trainer, such as ``precision``.
        seed: Seed of every worker's random numbers.
        shows_progress: Show the progress on standard error.
        on_begin: Called once a worker has accepted the settings.

    Raises:
        ValueError: If ray is not installed, or these settings need a local run.
        LostProcessError: If workers die one after another.
        Exception: Whatever ends a local run, such as a full disk.
    """
    callbacks = [WarmStart(), AdapterWriter()] if callbacks is None else list(callbacks)
    writer = find_callback(callbacks, AdapterWriter)
    require_ray()
    require_no_weights(module)
    _refuse_local_data(data)
    root_dir = Path(root_dir).absolute()
    data.use_run_dir(root_dir)
    data.prepare_data()
    data.setup("fit")
    place = writer.folder or module.store_dir_in(root_dir)
    settings = {"accelerator": workers.accelerator, **(trainer or {}), "default_root_dir": root_dir}
    parts = WorkerParts(module, data.of_tasks([]), callbacks, settings, seed)
    run = _Run(data.plan, place, writer.layout, on_begin)
    # With nothing left, one worker checks the settings.
    workers = replace(workers, num_workers=min(workers.num_workers, max(1, run.num_left)))
    try:
        with open_pool(partial(BlockEncoder, parts), workers, _in_memory) as pool:
            run.encode(pool, workers, shows_progress)
    except (KeyboardInterrupt, SystemExit):
        run.say_stored()
        raise
    return run.report()


class _Run:
    """The documents of a run, and what has become of them so far."""

    def __init__(
        self, plan: EncodingPlan, place: str, layout: str, on_begin: Callable[[], None]
    ) -> None:
        self._plan, self._place, self._layout, self._on_begin = plan, place, layout, on_begin
        tasks = {task.document_id: task for task in plan.tasks}
        stored = self._stored(list(tasks))
        current = {
            name for name, digest in stored.items() if tasks[name].is_what_was_stored(digest)
        }
        for line in plan_lines(plan, len(stored), len(current)):
            print(line)
        self._num_before = len(current)
        self._left = [task for task in plan.tasks if task.document_id not in current]
        self._result = BlockResult()
        self._has_begun = False

    @property
    def num_left(self) -> int:
        """Number of documents to encode."""
        return len(self._left)

    def encode(
        self,
        pool: RayPool[EncodingTask, BlockResult],
        workers: RayWorkers,
        shows_progress: bool,
    ) -> None:
        """Encode what is left."""
        work = Work("encoding", "documents", len(self._left), len(self._left))
        work.begin()
        with displayed(work) if shows_progress else nullcontext(lambda: None) as show:
            for _ in range(_ROUNDS):
                for block, results in pool.work(make_blocks(self._left, workers.num_workers)):
                    for result in _given_up(block) if results is None else results:
                        self._add(result)
                        count = len(result.receipts) + len(result.failures)
                        work.advance(count, count)
                    show()
                done = {receipt.document_id for receipt in self._result.receipts}
                done |= self._result.failures.keys()
                self._left = [task for task in self._left if task.document_id not in done]
                if not self._left:
                    break

    def report(self) -> Outcome:
        """Compare the receipts with the store, and print and return what became of all."""
        lost, num_twice = self._compare()
        failures = dict(self._result.failures)
        for receipt in lost:
            failures[receipt.document_id] = (
                f"its worker stored it in row {receipt.row} of '{receipt.file}', but the store "
                "does not hold it; `prag store verify` looks for damage"
            )
        outcome = Outcome(
            num_documents=len(self._plan.tasks) + len(self._plan.rejected),
            num_stored=self._num_before + len(self._result.receipts) - len(lost),
            elsewhere=[task.document_id for task in self._left],
            failures={**failures, **self._plan.rejected},
            lengths=self._result.lengths,
        )
        if num_twice:
            print(f"{num_twice} documents were stored by two workers; the first adapter counts")
        for line in outcome.lines(self._place):
            print(line)
        return outcome

    def _compare(self) -> Comparison:
        if not self._result.receipts:
            # There may be no store.
            return Comparison([], 0)
        with open_store(self._place, layout=self._layout, mode="read") as store:
            return compare_receipts(self._result.receipts, store)

    def say_stored(self) -> None:
        """Print how many documents are stored, some perhaps with an earlier text."""
        ids = [task.document_id for task in self._plan.tasks]
        print(f"{len(self._stored(ids))} of {len(ids)} documents are in {self._place}")

    def _add(self, result: BlockResult) -> None:
        if not self._has_begun and (result.receipts or result.failures):
            self._has_begun = True
            self._on_begin()
        self._result.add(result)

    def _stored(self, document_ids: list[str]) -> dict[str, str]:
        """Return the digests of those documents that are stored."""
        try:
            with open_store(self._place, layout=self._layout, mode="read") as store:
                return store.text_digests(document_ids)
        except FileNotFoundError:
            return {}


def _in_memory(task: EncodingTask) -> EncodingTask:
    return task.in_memory()


def _given_up(block: Block[EncodingTask]) -> list[BlockResult]:
    """Return the failure of documents over which no more workers shall die."""
    why = "each worker that encoded it died; it may take too much memory"
    return [BlockResult(failures={task.document_id: why}) for task in block.tasks]


def _refuse_local_data(data: DocumentDataModule) -> None:
    """Refuse what needs a local run.

    Raises:
        ValueError: If the settings need one.
    """
    if data.warm_up is not None:
        raise ValueError(f"data.warm_up trains one adapter, which one process does{_LOCAL}")
    if data.has_validation_questions:
        raise ValueError(f"data.validation_questions are asked while one process encodes{_LOCAL}")
