"""The LightningDataModule: documents as encoding steps, and questions as evaluations."""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning import LightningDataModule
from pydantic import NonNegativeInt, PositiveInt
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from transformers import PreTrainedTokenizerBase

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.question_set import QuestionSet
from prag_lightning.answering.questions import METHODS, MethodName, parse_methods
from prag_lightning.augmentation.source import AugmentationSource
from prag_lightning.documents.records import Augmentation, Document, Question
from prag_lightning.encoding.batches import EncodingBatch
from prag_lightning.encoding.objectives import LossOn, NextToken, Objective, make_objective
from prag_lightning.encoding.per_document import wait_for_file
from prag_lightning.encoding.plan import EncodingSteps, EncodingTask, PassageInPrompt
from prag_lightning.encoding.planning import AugmentationLimits, EncodingPlan, plan_tasks
from prag_lightning.encoding.shard import Shard
from prag_lightning.encoding.sharing import Claimant, SharedSteps
from prag_lightning.encoding.steps_ahead import StepsAhead
from prag_lightning.encoding.warm_up import plan_warm_up
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.language_model.embedded import DEMO
from prag_lightning.language_model.exemplars import read_exemplars
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.templates import PromptTemplate, find_template
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.document_source import DocumentSource

# In Python these may be objects; the command line takes names and files only.
if TYPE_CHECKING:
    from prag_lightning.augmentation.base import Augmenter

    Documents = str | Path | Iterable[Document]
    Augmentations = str | Path | Iterable[str | Path | Augmentation] | None
    Questions = str | Path | Iterable[Question] | None
    Tokenizer = str | PreTrainedTokenizerBase
    Template = str | dict[str, str] | PromptTemplate
    AugmenterSource = Augmenter | str | None
    Finder = Retriever | Callable[[], Retriever] | str | None
    Objectives = Objective | str | dict[str, Any]
else:
    Documents = Tokenizer = str
    Questions = AugmenterSource = str | None
    Augmentations = str | list[str] | None
    Template = str | dict[str, str]
    Finder = Callable[[], Retriever] | str | None
    Objectives = str | dict[str, Any]


class DocumentDataModule(LightningDataModule):
    """Documents to encode, and questions to answer from them.

    The first group of arguments determines the input, the second how documents are encoded, the
    third how questions are asked.

    Args:
        folder: Folder of ``documents.jsonl``, ``augmentations.jsonl``, ``questions.jsonl`` and,
            if it holds more than the documents, ``corpus.jsonl``; ``demo`` makes the embedded
            world. From Python also the documents themselves, as any iterable of `Document`. The
            command line writes the run to ``runs/NAME``, by the folder's name.
        base: Language model whose tokenizer and chat template are used: hub name or folder, as
            ``model.base``; from Python also a tokenizer.
        augmentations: File of the augmentations; by default ``augmentations.jsonl`` in the folder.
            Augmentations of a document in several files are combined. From Python also an iterable
            of `Augmentation`.
        augmenter: Augments documents without an up-to-date augmentation: ``template``, the import
            path of an `Augmenter`, or from Python an `Augmenter`. By default, such documents are
            not encoded.
        questions: File of the questions; by default ``questions.jsonl`` in the folder. From Python
            also an iterable of `Question`.
        validation_questions: Questions to answer during encoding, at every
            ``trainer.val_check_interval``: a file, or from Python an iterable of `Question`.
        template: Wording of the prompts: ``direct``, as published, ``chain_of_thought``, a YAML
            file with the fields of a template, or from Python a `PromptTemplate`.
        exemplars: JSON file of examples for the prompt, a list of ``question`` and ``answer``, the
            latter written as the model should answer; ``demo`` for the embedded world's.
        few_shot_in_training: Whether the examples are also in the prompts of encoding, as
            published.
        max_tokens: Longest prompt in tokens; passages are truncated to fit, answers never.
        passes: Number of passes over a document's prompts.
        batch_size: Prompts of a document in one optimizer step.
        objective: Training objective: ``next_token``, as published; ``distill``, the base's answers
            with the document in its prompt; or the import path of an `Objective`, with settings if
            it takes any. From Python also an `Objective`.
        loss_on: Which tokens carry loss: all of them, as published, or only the answer's; ``auto``
            follows the objective.
        passage_in_prompt: Which question-answer pairs are trained on with the passage, and with
            each rewrite, in the prompt: the first half, as published, none or all; ``apart`` trains
            on the passages as plain text, and on the pairs without them.
        num_strangers_questions: Number of questions about other documents to add to each document's
            training, with the base's own answers as targets. Needs an objective with a teacher.
        num_unanswerable: Number of questions that the document does not answer to add to its
            training, from its augmentation, with the answer "unknown". With a teacher, it learns to
            say what the base says to them without the document.
        packed: Concatenate prompts into one row, without padding; otherwise each is a row of its
            own, batched by similar length, which is faster on a GPU and needed for compiled code.
            By default whichever is faster.
        num_slots: How many documents train at once. The command line takes it from
            ``model.num_slots``.
        num_rewrites: Train on only this many rewrites of each document; by default on all.
        num_qas: Train on only this many question-answer pairs of each document; by default on all.
            With 0, the passage and its rewrites are trained on as plain text.
        warm_up: Train one adapter, a warm start, on the question-answer pairs of this file of
            questions or augmentations, and none for the documents. The questions to answer must
            not be among them.
        shard: Encode only this part of the documents: ``3/16`` is the fourth of 16, as parts count
            from 0. Questions may be about all documents.
        methods: Methods to compare: a list or a comma-separated string. By default all that the
            questions allow (some need gold documents), except ``combine_late``, ``rag_other``,
            ``task`` and ``rag_task``.
        retriever: How documents are found for a question: ``bm25``, whose index is built if
            missing, ``dense``, ``elasticsearch``, ``run_file``, ``given``, or the import path of a
            `Retriever`, with settings if it takes any. From Python also a `Retriever`.
        top_k: How many documents are retrieved for a question.
        limit: Ask only the first questions, this many of each type; the score over all types is
            that of the first ones in the file, as in the published tables.
        question_batch_size: Number of questions answered together.
        num_workers: Processes that prepare prompts ahead of the model; with 0, a thread prepares
            those of encoding.
        trust_remote_code: Run Python code that comes with the tokenizer of ``base``. The command
            line takes it from ``model.trust_remote_code``.

    Raises:
        FileNotFoundError: If the tokenizer, the template or the exemplars are missing.
        ValueError: If they are invalid.
    """

    def __init__(
        self,
        folder: Documents = DEMO,
        base: Tokenizer = DEMO,
        augmentations: Augmentations = None,
        augmenter: AugmenterSource = None,
        questions: Questions = None,
        validation_questions: Questions = None,
        template: Template = "direct",
        exemplars: str | None = None,
        few_shot_in_training: bool = True,
        max_tokens: PositiveInt = 3000,
        passes: PositiveInt = 1,
        batch_size: PositiveInt = 1,
        objective: Objectives = "next_token",
        loss_on: LossOn | Literal["auto"] = "auto",
        passage_in_prompt: PassageInPrompt = "half",
        num_strangers_questions: NonNegativeInt = 0,
        num_unanswerable: NonNegativeInt = 0,
        packed: bool | None = None,
        num_slots: PositiveInt = 8,
        num_rewrites: NonNegativeInt | None = None,
        num_qas: NonNegativeInt | None = None,
        warm_up: str | None = None,
        shard: str | None = None,
        methods: str | list[str] | None = None,
        retriever: Finder = None,
        top_k: PositiveInt = 3,
        limit: PositiveInt | None = None,
        question_batch_size: PositiveInt = 32,
        num_workers: NonNegativeInt = 0,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__()
        self._questions = questions
        self._validation_questions = validation_questions
        tokenizer = load_tokenizer(base, trust_remote_code) if isinstance(base, str) else base
        self.encoder = PromptEncoder(tokenizer, find_template(template), read_exemplars(exemplars))
        self.training_encoder = self.encoder.for_training(few_shot_in_training)
        self.max_tokens = max_tokens
        self.passes = passes
        self.batch_size = batch_size
        self.objective = make_objective(objective)
        self.loss_on = self.objective.loss_on if loss_on == "auto" else loss_on
        self.passage_in_prompt = passage_in_prompt
        self.num_strangers_questions = num_strangers_questions
        self.num_unanswerable = num_unanswerable
        self.packed = packed
        self.num_slots = num_slots
        self.limits = AugmentationLimits(num_rewrites, num_qas)
        self.warm_up = warm_up
        self.shard = Shard() if shard is None else Shard.parse(shard)
        self._methods = None if methods is None else parse_methods(methods)
        self.source = DocumentSource(folder, retriever, lambda: self._run_dir)
        self.augmentations = AugmentationSource(
            augmentations, augmenter, lambda: self.source.folder
        )
        self.top_k = top_k
        self.limit = limit
        self.question_batch_size = question_batch_size
        self.num_workers = num_workers
        self._plan: EncodingPlan | None = None
        # In place of the documents, if given.
        self._tasks: Sequence[EncodingTask] | None = None
        self._given_run_dir: Path | None = None
        self._asked: dict[str, QuestionSet] = {}
        # In place of the questions, if given.
        self._given_questions: QuestionSet | None = None
        self._check_objective()
        # Documents that need not be encoded.
        self._left_out: Container[str] = ()
        self._claim: Claimant | None = None

    def _check_objective(self) -> None:
        name = type(self.objective).__name__
        if not self.objective.has_teacher:
            if self.num_strangers_questions:
                raise ValueError(
                    f"num_strangers_questions is {self.num_strangers_questions}, but the objective "
                    f"{name} has no teacher, who would say what the base says; take distill"
                )
            return
        if self.loss_on != "answer":
            raise ValueError(
                f"loss_on is '{self.loss_on}', but the objective {name} has a teacher, with whom "
                "it shares the answer only; leave loss_on out"
            )
        plain = self.limits.num_qas == 0 or self.passage_in_prompt == "apart"
        if self.warm_up is not None or plain:
            raise ValueError(
                f"the objective {name} has a teacher, who answers questions from a document; for "
                "a warm start, or for passages as plain text, take the objective next_token"
            )

    # ---------------------------------------------------------------- what is read

    def use_run_dir(self, folder: Path) -> None:
        """Keep files derived from the documents in ``folder``, where there is no Trainer."""
        self._given_run_dir = folder

    @property
    def _run_dir(self) -> Path:
        if self._given_run_dir is not None:
            return self._given_run_dir
        return Path(self.trainer.default_root_dir if self.trainer else ".")

    @property
    def _place(self) -> tuple[int, int]:
        """This process's rank, and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def prepare_data(self) -> None:
        """Write the embedded world's files and build the BM25 index, if they are missing."""
        if self._tasks is not None:
            return
        folder = self.source.folder
        if self.source.is_demo and not (folder / "questions.jsonl").exists():
            from prag_lightning.demo.world import write_world

            write_world(folder)
        trainer = self.trainer
        asks = trainer is not None and (
            not trainer.training or self._validation_questions is not None
        )
        if asks:
            self.prepare_questions()

    def prepare_questions(self) -> None:
        """Build the BM25 index if a method retrieves with it, and it is missing."""
        names = METHODS if self._methods is None else self._methods
        if any(METHODS[name].needs_retrieval for name in names):
            self.source.prepare_index()

    def setup(self, stage: str) -> None:
        """Read the data that ``fit``, ``validate``, ``test`` or ``predict`` needs."""
        # One process on each machine prepares the files; the others may get here before it is done.
        if self.source.is_demo:
            wait_for_file(self.source.folder / "questions.jsonl")
        self._plan, self._asked = None, {}
        if stage == "fit":
            self._plan = self._make_plan()
        if stage in ("fit", "validate") and self._validation_questions is not None:
            self._asked["validate"] = self._ask("validate")
        if stage in ("test", "predict"):
            self._asked[stage] = self._ask(stage)

    # ---------------------------------------------------------------- encoding

    @property
    def plan(self) -> EncodingPlan:
        """The encoding plan of this process, including documents that are already encoded."""
        if self._plan is None:
            self._plan = self._make_plan()
        return self._plan

    def of_tasks(self, tasks: Sequence[EncodingTask]) -> "DocumentDataModule":
        """Return a data module with the same settings that encodes ``tasks``, and reads nothing.

        It takes the place of this one in another process.
        """
        part = copy.copy(self)
        part.trainer = None
        part.source = DocumentSource((), None, Path)
        part.augmentations = AugmentationSource(None, None, Path)
        part._questions = part._validation_questions = None
        part._plan, part._tasks, part._asked = None, tasks, {}
        return part

    def of_questions(self, asked: QuestionSet) -> "DocumentDataModule":
        """Return a data module with the same settings that asks these questions, and reads nothing.

        It takes the place of this one in another process.
        """
        part = self.of_tasks([])
        part._given_questions = asked
        return part

    def _make_plan(self) -> EncodingPlan:
        if self._tasks is not None:
            return EncodingPlan(list(self._tasks), {}, Counter())
        if self.warm_up is not None:
            is_first = (self.shard.index, self._place[0]) == (0, 0)
            return plan_warm_up(Path(self.warm_up), self._questions_file, own=is_first)
        own = self.source.open_documents(self._is_own if self._is_one_of_several else None)
        augmentations = self._read_augmentations(own)
        return plan_tasks(
            own,
            augmentations,
            self.limits,
            self.passage_in_prompt,
            self.num_strangers_questions,
            self.num_unanswerable,
        )

    @property
    def _is_one_of_several(self) -> bool:
        """Whether other processes take some of the documents, whatever becomes of them."""
        _, num_processes = self._place
        return num_processes * self.shard.count > 1

    def _is_own(self, document_id: str) -> bool:
        """Return whether a document is this process's, by a hash of its id so that runs agree."""
        return self.shard.holds(document_id, *self._place)

    def _read_augmentations(self, documents: Mapping[str, Document]) -> Mapping[str, Augmentation]:
        """Return augmentations by document id."""
        if self.limits.take_nothing:
            return {}
        # Questions about other documents are drawn from all.
        takes_all = self.num_strangers_questions or not self._is_one_of_several
        return self.augmentations.read(documents, None if takes_all else documents.__contains__)

    @property
    def has_validation_questions(self) -> bool:
        """Whether questions are to be answered during encoding."""
        return self._validation_questions is not None

    def leave_out(self, document_ids: Container[str]) -> None:
        """Skip these documents when encoding; set by the callback that opens the store."""
        self._left_out = document_ids

    def share(self, claim: Claimant) -> None:
        """Encode only what ``claim`` grants; set by the callback that opens the store.

        Other processes may then encode the same documents at the same time.
        """
        self._claim = claim

    def set_num_slots(self, num_slots: int) -> None:
        """Train this many documents at once, from the next ``train_dataloader`` on."""
        self.num_slots = num_slots

    def limit_tokens(self, max_tokens: int) -> None:
        """Truncate passages so that no prompt has more tokens than the base can read."""
        self.max_tokens = min(self.max_tokens, max_tokens)

    def training_settings(self) -> dict[str, str | int]:
        """Return the settings of this module that an adapter depends on."""
        return {
            "passes": self.passes,
            "batch_size": self.batch_size,
            "loss_on": self.loss_on,
            "max_tokens": self.max_tokens,
            **self.limits.settings,
            **self._unpublished_settings(),
        }

    def _unpublished_settings(self) -> dict[str, str | int]:
        """Return settings that differ from the published ones; older stores do not record them."""
        settings: dict[str, str | int] = {}
        if not isinstance(self.objective, NextToken):
            settings["objective"] = self.objective.wording
        if self.passage_in_prompt != "half":
            settings["passage_in_prompt"] = self.passage_in_prompt
        if self.num_strangers_questions:
            settings["num_strangers_questions"] = self.num_strangers_questions
        if self.num_unanswerable:
            settings["num_unanswerable"] = self.num_unanswerable
        return settings

    def encoding_steps(self, num_slots: int) -> EncodingSteps:
        """Return the steps that encode all documents that are not left out."""
        return EncodingSteps(
            [task for task in self.plan.tasks if task.document_id not in self._left_out],
            num_slots,
            self.training_encoder,
            batch_size=self.batch_size,
            passes=self.passes,
            loss_on=self.loss_on,
            objective=self.objective,
            packed=self._packs,
            max_tokens=self.max_tokens,
        )

    def train_dataloader(self) -> DataLoader[EncodingBatch]:
        """Return the steps that encode the documents."""
        steps = self.encoding_steps(self.num_slots)
        shared = SharedSteps(steps, self._claim)
        return StepsAhead(steps, shared, self.num_workers, pin_memory=self._is_on_gpu)

    @property
    def _is_on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    @property
    def _packs(self) -> bool:
        """Whether the prompts of a step stand in one row."""
        if self.packed is not None:
            return self.packed
        module = self.trainer.lightning_module if self.trainer is not None else None
        return not (self._is_on_gpu or getattr(module, "compile_base", False))

    # ---------------------------------------------------------------- asking

    @property
    def _questions_file(self) -> Path | None:
        """File of the questions, if they are in a file."""
        if self._questions is None:
            return self.source.folder / "questions.jsonl"
        return Path(self._questions) if isinstance(self._questions, str | Path) else None

    @property
    def questions(self) -> Sequence[Question]:
        """The questions that this process asks."""
        stage = "predict" if self.trainer is not None and self.trainer.predicting else "test"
        return self.question_set(stage).questions

    @property
    def methods(self) -> list[MethodName]:
        """The methods that answer."""
        return self.question_set("test").methods

    def question_set(self, stage: str) -> QuestionSet:
        """Return the question set of ``validate``, ``test`` or ``predict``."""
        if stage not in self._asked:
            self._asked[stage] = self._ask(stage)
        return self._asked[stage]

    def _ask(self, stage: str) -> QuestionSet:
        if self._given_questions is not None:
            return self._given_questions
        if stage == "validate":
            source: Any = self._validation_questions
        else:
            source = self._questions_file or self._questions
        return QuestionSet.read(
            source,
            methods=self._methods,
            needs_answers=stage != "predict",
            limit=self.limit,
            place=self._place,
            open_retriever=self.source.open_retriever,
            top_k=self.top_k,
            documents=self.source.read_corpus(),
            encoded=self.source.read_ids(),
        )

    def val_dataloader(self) -> list[DataLoader[QuestionBatch]]:
        """Return one loader for each method over the validation questions; none without them."""
        if self._validation_questions is None:
            # Lightning warns if there are no loaders.
            warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")
            return []
        return self.question_loaders("validate")

    def test_dataloader(self) -> list[DataLoader[QuestionBatch]]:
        """Return one loader for each method."""
        return self.question_loaders("test")

    def predict_dataloader(self) -> list[DataLoader[QuestionBatch]]:
        """Return one loader for each method, over questions that need no answers."""
        return self.question_loaders("predict")

    def question_loaders(self, stage: str) -> list[DataLoader[QuestionBatch]]:
        """Return one loader for each method that answers in ``validate``, ``test``, ``predict``."""
        asked, settings = self.question_set(stage), (self.question_batch_size, self.max_tokens)
        return [
            self._loader(asked.batches(name, self.encoder, *settings)) for name in asked.methods
        ]

    def _loader(self, batches: Dataset[QuestionBatch]) -> DataLoader[QuestionBatch]:
        # Every process already has its own questions. With several processes, Lightning would
        # replace any other sampler by one that shuffles and divides.
        own = DistributedSampler[Any](batches, num_replicas=1, rank=0, shuffle=False)
        return DataLoader(batches, batch_size=None, sampler=own, num_workers=self.num_workers)
