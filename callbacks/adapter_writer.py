"""Writes each document's adapter to the store after its last step, while training goes on."""

import errno
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from rich.filesize import decimal
from torch import Tensor

from prag_lightning.adapters.peft_format import read_adapter
from prag_lightning.adapters.store.durable import StoreFullError, free_bytes
from prag_lightning.adapters.store.export import export_adapter
from prag_lightning.adapters.store.opening import AdapterStore, forecast_bytes, open_store
from prag_lightning.adapters.store.recipe import StoreDtype
from prag_lightning.adapters.store.records import Receipt
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.outcome import Outcome, plan_lines
from prag_lightning.encoding.sharing import Claim
from prag_lightning.encoding.warm_up import WARM_START_ID
from prag_lightning.module import ParametricRAG

# Most steps with unwritten adapters; beyond that, training waits for the writer.
_MAX_PENDING = 8


class AdapterWriter(Callback):
    """Saves every document's adapter once it is trained, and skips those already saved.

    A document whose text or augmentation has changed is encoded again.

    Args:
        store: Folder of the adapters, or an fsspec URL such as ``s3://bucket/wiki``; by default
            that of the module, ``adapters`` under the Trainer's root folder.
        layout: Many documents in few files, or a folder for each, as PEFT and vLLM read it.
        dtype: Number format of the stored adapters.
        check_free_space: Refuse to start if the disk has no room for all adapters.
    """

    def __init__(
        self,
        store: str | None = None,
        layout: str = "packed",
        dtype: StoreDtype = "float32",
        check_free_space: bool = True,
    ) -> None:
        self.folder = store
        self.layout = layout
        self.dtype = dtype
        self.check_free_space = check_free_space
        # Why documents have no adapter, by id.
        self.failures: dict[str, str] = {}
        # What became of the documents of the last `fit`.
        self.outcome: Outcome | None = None
        self._store: AdapterStore | None = None
        self._stays_open = False
        self._pending: deque[Future[None]] = deque()
        # Documents with prompts that were truncated, or are longer than the base's context.
        self._cut: set[str] = set()
        self._too_long: set[str] = set()
        # Documents that other processes are encoding.
        self._refused: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module its store."""
        if self.folder is not None:
            cast(ParametricRAG, pl_module).use_store(self.folder)

    def stay_open(self) -> None:
        """Keep the store open from one ``fit`` to the next, which must have the same recipe."""
        self._stays_open = True

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._store is not None

    def close(self) -> None:
        """Close the store, if it is open."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def receipts(self, document_ids: Sequence[str]) -> list[Receipt]:
        """Return where the adapters of those documents are that the store holds."""
        assert self._store is not None
        return self._store.receipts(document_ids)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, skip the documents it holds, and check that the others fit on the disk.

        Raises:
            StoreFullError: If they do not.
        """
        module = cast(ParametricRAG, pl_module)
        data = _data_module(trainer)
        if module.abilities.max_tokens is not None:
            data.limit_tokens(module.abilities.max_tokens)
        store = self._open(module, data)
        self._store, self._data = store, data
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="adapter-writer")
        plan = data.plan
        self._tasks = {task.document_id: task for task in plan.tasks}
        self.failures = dict(plan.rejected)
        stored = store.text_digests(list(self._tasks))
        current = self._current(stored)
        data.leave_out(current)
        data.share(self._claim)
        self._name = f"shard {data.shard}: " if data.shard.count > 1 else ""
        self._name += f"process {trainer.global_rank}: " if trainer.world_size > 1 else ""
        for line in plan_lines(plan, len(stored), len(current)):
            print(f"{self._name}{line}")
        self._require_room(store, len(plan.tasks) - len(current), trainer.world_size)

    def _open(self, module: ParametricRAG, data: DocumentDataModule) -> AdapterStore:
        if self._store is not None and self._stays_open:
            self._store.refresh()
            return self._store
        training = {**module.training_settings(), **data.training_settings()}
        return open_store(
            module.store_dir,
            module.recipe(data.training_encoder, training),
            layout=self.layout,
            dtype=self.dtype,
            mode="write",
        )

    def _current(self, stored: Mapping[str, str]) -> set[str]:
        """Return those stored documents whose adapters were trained on what they are now."""
        return {
            name for name, digest in stored.items() if self._tasks[name].is_what_was_stored(digest)
        }

    def _claim(self, document_ids: Sequence[str]) -> Claim:
        """Claim documents that no other process is encoding or has encoded since."""
        assert self._store is not None
        granted = set(self._store.claim(document_ids))
        encoded = self._current(self._store.text_digests(document_ids))
        self._store.release(granted & encoded)
        refused = set(document_ids) - granted - encoded
        self._refused = (self._refused | refused) - granted
        return Claim(granted - encoded, refused)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Give the adapters of finished documents to the writer."""
        self._cut |= batch.cut_documents
        self._too_long |= batch.documents_beyond(cast(ParametricRAG, pl_module).num_positions)
        if batch.ends:
            module = cast(ParametricRAG, pl_module)
            copies = [_begin_copy(tensor) for tensor in module.take_finished(list(batch.ends))]
            too_large = {
                name for slot, name in batch.ends.items() if slot in module.slots.too_large
            }
            ids = list(batch.ends.values())
            self._pending.append(self._writer.submit(self._save, ids, too_large, *copies))
        while self._pending and (self._pending[0].done() or len(self._pending) > _MAX_PENDING):
            # Re-raises an error of the writer's thread.
            self._pending.popleft().result()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until all adapters are on the disk, from which questions are answered."""
        self._wait()

    on_train_end = on_validation_start

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the adapters, and report missing ones."""
        assert self._store is not None
        self._finish()
        rejected = self._data.plan.rejected
        ids = [*self._tasks, *rejected]
        self._store.refresh()
        stored = self._store.text_digests(list(self._tasks))
        missing = [name for name in self._tasks if name not in stored]
        elsewhere = self._refused.intersection(missing)
        missing = [name for name in missing if name not in elsewhere]
        # Some of them may have an adapter of an earlier text.
        missing += rejected
        if WARM_START_ID in self._store and self._data.warm_up is not None:
            self._write_warm_start(Path(trainer.default_root_dir) / WARM_START_ID)
        if not self._stays_open:
            self.close()
        for document_id in missing:
            self.failures.setdefault(document_id, "it was not trained to its end")
        module = cast(ParametricRAG, pl_module)
        self.outcome = Outcome(
            num_documents=len(ids),
            num_stored=len(ids) - len(missing) - len(elsewhere),
            elsewhere=elsewhere,
            failures={name: self.failures[name] for name in missing},
            lengths=self._lengths(module.num_positions),
        )
        for line in self.outcome.lines(module.store_dir):
            print(f"{self._name}{line}")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save finished adapters before the run ends."""
        if self._store is None:
            return
        # On a full disk, writing the index fails as well; the first error is the one to report.
        ignored = [StoreFullError] if isinstance(exception, StoreFullError) else []
        try:
            with suppress(*ignored), closing(self._store):
                self._finish()
        finally:
            self._store = None

    def _save(
        self,
        document_ids: list[str],
        too_large: set[str],
        copied_rows: Callable[[], Tensor],
        copied_failed_at: Callable[[], Tensor],
    ) -> None:
        assert self._store is not None
        rows, failed_at = copied_rows(), copied_failed_at().tolist()
        finite = torch.isfinite(rows).all(dim=1).tolist()
        whole: list[int] = []
        for place, document_id in enumerate(document_ids):
            if document_id in too_large:
                why = f"out of memory at step {failed_at[place]}, even with no other document"
            elif failed_at[place]:
                why = f"its loss is not a finite number at step {failed_at[place]}"
            elif not finite[place]:
                why = "its adapter is not a finite number after the last step"
            else:
                whole.append(place)
                continue
            self.failures[document_id] = why
        if whole:
            ids = [document_ids[place] for place in whole]
            digests = [self._tasks[document_id].digest for document_id in ids]
            self._store.put_many(ids, rows[whole], digests)

    def _finish(self) -> None:
        self._writer.shutdown(wait=True)
        self._wait()

    def _wait(self) -> None:
        while self._pending:
            self._pending.popleft().result()
        if self._store is not None:
            self._store.flush()

    def _lengths(self, num_positions: int | None) -> dict[str, set[str]]:
        """Return the documents with prompts that are too long, by what was done about it."""
        limit = f"data.max_tokens {self._data.max_tokens}"
        beyond = f"beyond the {num_positions} tokens that the base was made for; lower {limit}"
        return {f"cut to {limit}": self._cut, beyond: self._too_long}

    def _write_warm_start(self, folder: Path) -> None:
        """Write the warm start as a folder for ``--warm_start.path`` and PEFT.

        Raises:
            ValueError: If the folder holds another adapter.
        """
        assert self._store is not None
        store = self._store
        if not folder.exists():
            export_adapter(store, [WARM_START_ID], [1.0], folder)
        elif not torch.equal(
            read_adapter(folder, store.layout, store.recipe.lora),
            store.get_many([WARM_START_ID])[0],
        ):
            raise ValueError(
                f"{folder}: holds another warm start than this run trained; remove it, or give "
                "another --trainer.default_root_dir"
            )
        print(f"{self._name}the warm start is in {folder}")

    def _require_room(self, store: AdapterStore, num_left: int, num_processes: int) -> None:
        own = forecast_bytes(store.recipe, self.layout, self.dtype, num_left)
        folder = store.files.local
        if folder is None:
            if num_left:
                print(f"{self._name}adapters to come: {decimal(own)}")
            return
        free = free_bytes(folder)
        if num_left:
            print(f"{self._name}adapters to come: {decimal(own)}; free: {decimal(free)}")
        # Every process has about as many documents, and all may write to the same disk.
        needed = num_processes * own
        if self.check_free_space and needed > free:
            raise StoreFullError(
                errno.ENOSPC,
                f"the adapters of {num_left * num_processes} documents take {decimal(needed)} but "
                f"{decimal(free)} are free; make room, store smaller numbers "
                "(--adapter_writer.dtype), or begin nevertheless with "
                "--adapter_writer.check_free_space false",
                str(folder),
            )


def _data_module(trainer: Trainer) -> DocumentDataModule:
    data = cast(Any, trainer).datamodule
    if not isinstance(data, DocumentDataModule):
        raise ValueError(
            "AdapterWriter needs a DocumentDataModule, which knows what the adapters are made of; "
            "give trainer.fit one, not a DataLoader"
        )
    return data


def _begin_copy(rows: Tensor) -> Callable[[], Tensor]:
    """Start an asynchronous copy of ``rows`` to the CPU; return a function that waits for it."""
    if not rows.is_cuda:
        return lambda: rows
    copy = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    copy.copy_(rows, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def wait() -> Tensor:
        done.synchronize()
        return copy

    return wait
