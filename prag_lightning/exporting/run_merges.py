"""The merged adapters of a run, by the names of merges."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.merge import anchored, make_merge_rule
from prag_lightning.adapters.store.export import merge_rows
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.warm_start import adds_nothing
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.merging import AdapterMerger, Merge
from prag_lightning.documents.folder import read_corpus
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.exporting.merge_name import MergeName
from prag_lightning.retrieval.base import Retriever, retrieve_by_question


class MergedAdapter(NamedTuple):
    """One adapter made of several.

    Args:
        row: The adapter, shape ``(num_params,)``.
        layout: Memory layout of the adapter.
        lora: Settings of the adapter.
    """

    row: Tensor
    layout: AdapterLayout
    lora: LoraConfig


class RunMerges:
    """Merges a run's adapters as the run does, without its base model.

    Args:
        run_dir: Root folder of the run.

    Raises:
        FileNotFoundError: If nothing was run there, or its documents or adapters are gone.
        ValueError: If its settings or its store are damaged.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run = read_run(run_dir)
        self.store = open_store(self._run.store, mode="read")
        recipe = self.store.recipe
        self._merger = AdapterMerger(
            recipe.layout,
            self.store,
            self._run.warm_start.read(recipe.layout, recipe.lora),
            make_merge_rule(self._run.answerer["merge"]),
            read_corpus(Path(self._run.data["folder"])),
        )
        self._retriever: Retriever | None = None

    def merge(self, name: MergeName, max_rank: int) -> MergedAdapter:
        """Return a merge of the run's adapters.

        Args:
            name: The documents, or the question for which they are found.
            max_rank: The highest rank that the merge may have.

        Raises:
            ValueError: If a document has no adapter of its present text, none is found, or the
                rank is higher.
        """
        merger = self._merger
        if name.weights is not None:
            merger = merger.with_rule(make_merge_rule("anchored"))
        route = merger.route([self._chosen(name)])
        assert route is not None
        assert route.weights is not None
        assert route.adapters is not None
        layout, lora = self.store.layout, self.store.recipe.lora
        terms = [
            (slot, weight)
            for slot, weight in zip(route.slots[0].tolist(), route.weights[0].tolist(), strict=True)
            # An untrained warm start adds nothing to a merge but rank.
            if weight and not adds_nothing(route.adapters[slot], layout)
        ]
        rank = len(terms) * lora.rank
        if rank > max_rank:
            raise ValueError(
                f"{len(terms)} adapters of rank {lora.rank} make one of rank {rank}, more than "
                f"{max_rank}; name fewer documents"
            )
        if not terms:
            raise ValueError("the adapters of these documents change nothing")
        slots, weights = zip(*terms, strict=True)
        return MergedAdapter(*merge_rows(route.adapters[list(slots)], weights, layout, lora))

    def _chosen(self, name: MergeName) -> Merge:
        """Return the documents to merge, and their weights."""
        if name.question is not None:
            merge = self._merger.choose(self._found(name.question))
            if not merge.documents:
                raise ValueError("no document that has an adapter was found for the question")
            return merge
        documents = [RetrievedDocument(document_id, 0.0) for document_id in name.document_ids]
        merge = self._merger.choose(documents)
        if merge.missing:
            raise ValueError(
                f"document {merge.missing[0].document_id[:80]!r} has no adapter of its present text"
            )
        if name.weights is not None:
            return Merge(documents, anchored(name.weights), [])
        return merge

    def _found(self, question: str) -> list[RetrievedDocument]:
        if self._retriever is None:
            self._retriever = self._run.data["retriever"]()
        asked = Question(id="merge", question=question)
        return retrieve_by_question(self._retriever, [asked], self._run.data["top_k"])["merge"]
