"""Augmenting with the workers of a Ray cluster: `prag augment --engine ray`, and from Python."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from prag_lightning.augmentation.base import Augmenter, Listener
from prag_lightning.augmentation.by_name import make_augmenter
from prag_lightning.augmentation.deliveries import collect_results
from prag_lightning.augmentation.outcomes import Failure, Usage
from prag_lightning.augmentation.settings import Settings
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
from prag_lightning.clusters.block_augmenter import (
    AugmentedBlock,
    AugmentingTask,
    BlockAugmenter,
    failed_outcome,
)
from prag_lightning.clusters.blocks import Block, make_blocks
from prag_lightning.clusters.ray_cluster import open_pool, require_ray
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.documents.records import Augmentation, Document


class RayAugmenter(Augmenter):
    """Augments documents as another augmenter does, with the workers of a Ray cluster.

    Every worker has an augmenter of its own, with a model that is loaded once, and gets one block
    of documents after another. The augmentations, and the settings by which their files are known,
    are those of a local run.

    Args:
        augmenter: The augmenter, or an argument for `make_augmenter`, of which every worker makes
            one. An object is sent to the workers, and should hold no weights.
        workers: The workers. A notebook that has called ``ray.init`` stays connected as it is.

    Raises:
        ValueError: If ray is not installed, or the augmenter is for several devices of one machine.
    """

    def __init__(
        self,
        augmenter: Augmenter | str | Mapping[str, Any],
        workers: RayWorkers = RayWorkers(),  # noqa: B008 - frozen
    ) -> None:
        require_ray()
        self._given = augmenter
        self._augmenter = make_augmenter(augmenter)
        self._workers = workers
        self.max_attempts = self._augmenter.max_attempts
        if isinstance(self._augmenter, TransformersAugmenter) and self._augmenter.devices > 1:
            raise ValueError(
                f"devices is {self._augmenter.devices}, which is for a local run; leave it out "
                "with the engine ray, whose workers have the settings under 'ray'"
            )

    @property
    def settings(self) -> Settings:
        """All settings that the augmentations depend on."""
        return self._augmenter.settings

    def augment(self, documents: Sequence[Document]) -> list[Augmentation | Failure]:
        """Return the augmentation of each document, or why it failed.

        Args:
            documents: Documents with distinct ids.
        """
        return collect_results(documents, self)

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Augment documents in blocks, and report the outcomes of each block once it is done.

        Args:
            documents: Documents with distinct ids.
            listener: Receives the outcomes, and the answers that cannot be used.

        Returns:
            Usage of the language model.

        Raises:
            LostProcessError: If workers die one after another.
            Exception: Whatever ends a local run, such as a model that is not there.
        """
        num_workers = max(1, min(self._workers.num_workers, len(documents)))
        workers = replace(self._workers, num_workers=num_workers)
        device = "cuda" if workers.gpus_per_worker else "cpu"
        usage = Usage()
        with open_pool(partial(BlockAugmenter, self._given, device), workers) as pool:
            for block, results in pool.work(self._blocks(documents, listener)):
                for result in _given_up(block) if results is None else results:
                    for answer in result.useless:
                        listener.hear(*answer)
                    for outcome in result.outcomes:
                        listener.deliver(outcome)
                    usage += result.usage
        return usage

    def _blocks(
        self, documents: Sequence[Document], listener: Listener
    ) -> Iterable[Block[AugmentingTask]]:
        def task(document: Document) -> AugmentingTask:
            return AugmentingTask(document, listener.earlier(document.id))

        if isinstance(self._augmenter, TransformersAugmenter):
            # The batches of a local run: little is lost with a worker, and rounding is the same.
            for batch in self._augmenter.batches(documents):
                yield Block([task(document) for document in batch])
        else:
            yield from make_blocks([task(d) for d in documents], self._workers.num_workers)


def _given_up(block: Block[AugmentingTask]) -> list[AugmentedBlock]:
    """Return the failure of documents over which no more workers shall die."""
    why = "each worker that augmented it died; it may take too much memory"
    return [AugmentedBlock(outcomes=[failed_outcome(task, why) for task in block.tasks])]
