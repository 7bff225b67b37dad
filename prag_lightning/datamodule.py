"""The LightningDataModule: documents as encoding steps, and questions as evaluations."""

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lightning import LightningDataModule
from pydantic import NonNegativeInt, PositiveInt
from torch.utils.data import DataLoader

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.questions import (
    METHODS,
    MethodName,
    QuestionBatches,
    first_of_each_type,
    require_answers,
)
from prag_lightning.documents.folder import read_corpus, read_documents
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question, read_unique
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.limits import AugmentationLimits
from prag_lightning.encoding.per_document import wait_for_file
from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, LossOn, plan_tasks
from prag_lightning.encoding.warm_up import as_document, as_task, read_pairs, refuse_overlap
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.language_model.embedded import DEMO
from prag_lightning.language_model.exemplars import read_exemplars
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.templates import find_template
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.default_index import build_missing_index, find_index, open_index

if TYPE_CHECKING:
    from prag_lightning.module import ParametricRAG


class DocumentDataModule(LightningDataModule):
    """Documents to encode, and questions to answer from them.

    Args:
        folder: Where ``documents.jsonl``, ``augmentations.jsonl``, ``questions.jsonl`` and, if it
            holds more than the documents, ``corpus.jsonl`` are; ``demo`` makes the embedded world.
            The run lies in ``runs/NAME``, by the folder's name, unless ``trainer.default_root_dir``
            says where.
        base: Whose tokenizer and chat template are used; follows ``model.base``.
        template: Wording of the prompts: ``direct``, as published, ``chain_of_thought``, or a YAML
            file with the fields of a template.
        exemplars: JSON file of examples for the prompt, a list of ``question`` and ``answer``,
            which is written out as the model is to answer; ``demo`` are the embedded world's.
        few_shot_in_training: Whether the examples stand in the prompts of encoding, too, as
            published.
        passes: How often a document's prompts are gone through.
        batch_size: Prompts of a document in one optimizer step.
        loss_on: Which tokens carry loss; all of them, as published, or the answer's only.
        packed: Train on prompts behind each other in one row, without padding; else each in its
            own row, those of like length together, which is faster on a GPU.
        max_tokens: Longest prompt; passages are cut to fit, answers never.
        augmentations: File of the augmentations; by default ``augmentations.jsonl`` in the folder.
        num_rewrites: Train on the first so many rewrites of each document; by default on all.
        num_qas: Train on the first so many question-answer pairs of each document; by default on
            all. Without any, the passage and its rewrites are trained on as plain text.
        questions: File of the questions; by default ``questions.jsonl`` in the folder.
        limit: Ask only the first so many questions of each type; the score over all types is that
            of the first so many of the file, as in the published tables.
        warm_up: Train one adapter, a warm start, on the question-answer pairs of this file of
            questions or augmentations, and none for the documents. The questions to answer must
            not be among them.
        methods: What ``prag test`` compares and ``prag predict`` asks; by default all, or all that
            need no gold documents.
        retriever: How documents are found for a question, a class of ``prag_lightning.retrieval``
            and what it takes; by default BM25, over an index that is built where it is missing.
        top_k: How many documents are retrieved.
        question_batch_size: Questions that are answered together.
        num_workers: Processes that make prompts ahead of the model.
    """

    def __init__(
        self,
        folder: str = DEMO,
        base: str = DEMO,
        template: str | dict[str, str] = "direct",
        exemplars: str | None = None,
        few_shot_in_training: bool = True,
        passes: PositiveInt = 1,
        batch_size: PositiveInt = 1,
        loss_on: LossOn = "prompt_and_answer",
        packed: bool = True,
        max_tokens: PositiveInt = 3000,
        augmentations: str | None = None,
        num_rewrites: NonNegativeInt | None = None,
        num_qas: NonNegativeInt | None = None,
        questions: str | None = None,
        limit: PositiveInt | None = None,
        warm_up: str | None = None,
        methods: Sequence[MethodName] | None = None,
        retriever: Callable[[], Retriever] | None = None,
        top_k: PositiveInt = 3,
        question_batch_size: PositiveInt = 32,
        num_workers: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.folder_name = folder
        self.encoder = PromptEncoder(
            load_tokenizer(base), find_template(template), read_exemplars(exemplars)
        )
        self.training_encoder = self.encoder.for_training(few_shot_in_training)
        self.passes = passes
        self.batch_size = batch_size
        self.loss_on = loss_on
        self.packed = packed
        self.max_tokens = max_tokens
        self.augmentations_name = augmentations
        self.limits = AugmentationLimits(num_rewrites, num_qas)
        self.questions_name = questions
        self.limit = limit
        # Ids of the questions that the score over all types does not count.
        self.beyond_limit: set[str] = set()
        self.warm_up = warm_up
        self._methods = methods
        self.retriever = retriever
        self.top_k = top_k
        self.question_batch_size = question_batch_size
        self.num_workers = num_workers
        # Documents that are in the store already; whoever opens the store says which.
        self.finished: Container[str] = ()
        self.tasks: list[EncodingTask] = []
        # Documents that cannot be encoded, with the reason.
        self.rejected: dict[str, str] = {}
        # How many have fewer rewrites, or question-answer pairs, than were asked for.
        self.num_short: Counter[str] = Counter()

    @property
    def folder(self) -> Path:
        """Where the files are."""
        if self.folder_name != DEMO:
            return Path(self.folder_name)
        return self._run_dir / "data"

    @property
    def index_dir(self) -> Path:
        """Where the BM25 index is."""
        return find_index(self.folder, self._run_dir)

    @property
    def _run_dir(self) -> Path:
        return Path(self.trainer.default_root_dir if self.trainer else ".")

    @property
    def _questions_file(self) -> Path:
        return Path(self.questions_name or self.folder / "questions.jsonl")

    @property
    def methods(self) -> Sequence[MethodName]:
        """The methods that answer."""
        if self._methods is not None:
            return self._methods
        predicting = self.trainer is not None and self.trainer.predicting
        return [name for name, method in METHODS.items() if not (predicting and method.needs_gold)]

    @property
    def needs_adapters(self) -> bool:
        """Whether a method that is compared merges adapters."""
        return any(METHODS[name].adapters != "none" for name in self.methods)

    @property
    def _needs_retrieval(self) -> bool:
        return any("retrieved" in vars(METHODS[name]).values() for name in self.methods)

    def prepare_data(self) -> None:
        """Write the embedded world's files, and build the BM25 index, where they are missing."""
        if self.folder_name == DEMO and not (self.folder / "questions.jsonl").exists():
            from prag_lightning.demo.world import write_world

            write_world(self.folder)
        if self._needs_index:
            build_missing_index(self.folder, self.index_dir)

    @property
    def _needs_index(self) -> bool:
        answering = self.trainer is not None and (self.trainer.testing or self.trainer.predicting)
        return answering and self._needs_retrieval and self.retriever is None

    def setup(self, stage: str) -> None:
        """Read the files that ``fit``, ``test`` or ``predict`` needs."""
        # One process on each machine prepares them; the others may come here before it is done.
        if self.folder_name == DEMO:
            wait_for_file(self.folder / "questions.jsonl")
        if self._needs_index:
            wait_for_file(self.index_dir)
        if stage != "fit":
            self.documents = read_documents(self.folder)
            self._prepare_questions()
        elif self.warm_up is not None:
            pairs = read_pairs(Path(self.warm_up))
            refuse_overlap(pairs, self._questions_file)
            self.documents = [as_document(pairs)]
            self.tasks = [as_task(pairs) for _ in self._own_documents()]
        else:
            self.documents = read_documents(self.folder)
            source = Path(self.augmentations_name or self.folder / "augmentations.jsonl")
            plan = plan_tasks(self._own_documents(), source, self.limits)
            self.tasks, self.rejected, self.num_short = plan
        self._by_id = {task.document_id: task for task in self.tasks}

    def training_digest(self, document_id: str) -> str:
        """Return a digest of what a document's adapter is trained on."""
        return self._by_id[document_id].digest

    def training_settings(self) -> dict[str, str | int]:
        """Return the settings here that an adapter depends on."""
        return {
            "passes": self.passes,
            "batch_size": self.batch_size,
            "loss_on": self.loss_on,
            "max_tokens": self.max_tokens,
            **self.limits.settings,
        }

    def _own_documents(self) -> Iterator[Document]:
        """Yield the documents of this process: by a hash of the id, so that runs agree on it."""
        rank, num_processes = self._place
        for document in self.documents:
            digest = hashlib.sha256(document.id.encode()).digest()
            if int.from_bytes(digest[:8], "big") % num_processes == rank:
                yield document

    @property
    def _place(self) -> tuple[int, int]:
        """This process's rank, and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def encoding_steps(self, num_slots: int) -> EncodingSteps:
        """Return the steps that encode what is not in the store yet."""
        return EncodingSteps(
            [task for task in self.tasks if task.document_id not in self.finished],
            num_slots,
            self.training_encoder,
            batch_size=self.batch_size,
            passes=self.passes,
            loss_on=self.loss_on,
            packed=self.packed,
            max_tokens=self.max_tokens,
        )

    def train_dataloader(self) -> DataLoader[EncodingBatch]:
        """Return the steps of this run."""
        assert self.trainer is not None
        module = cast("ParametricRAG", self.trainer.lightning_module)
        return self._loader(self.encoding_steps(module.bank.num_slots))

    def test_dataloader(self) -> list[DataLoader[QuestionBatch]]:
        """Return one loader for each method."""
        batches = (
            QuestionBatches(
                name,
                self.questions,
                self.retrieved,
                self.corpus,
                [document.id for document in self.documents],
                self.encoder,
                self.question_batch_size,
                self.max_tokens,
            )
            for name in self.methods
        )
        return [self._loader(batch) for batch in batches]

    predict_dataloader = test_dataloader

    def _loader(self, dataset: EncodingSteps | QuestionBatches) -> DataLoader:  # type: ignore[type-arg]
        return DataLoader(dataset, batch_size=None, num_workers=self.num_workers)

    def _prepare_questions(self) -> None:
        rank, num_processes = self._place
        source = self._questions_file
        questions = read_unique(source, Question)
        if self.trainer is not None and self.trainer.testing:
            require_answers(questions, source)
        if self.limit is not None:
            self.beyond_limit = {question.id for question in questions[self.limit :]}
            questions = first_of_each_type(questions, self.limit)
        self.questions = questions[rank::num_processes]
        self.corpus = read_corpus(self.folder)
        found: list[list[RetrievedDocument]] = [[] for _ in self.questions]
        if self._needs_retrieval:
            own = self.retriever
            retriever = own() if own else open_index(self.folder, self.index_dir)
            found = retriever.retrieve(self.questions, self.top_k)
        self.retrieved = {q.id: row for q, row in zip(self.questions, found, strict=True)}
