"""Which documents are encoded, and in which order; their texts stay where they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prag_lightning.documents.digests import augmentation_is_current
from prag_lightning.documents.records import Augmentation, Document
from prag_lightning.encoding.plan import (
    EncodingTask,
    PassageInPrompt,
    TrainingPrompt,
    document_prompts,
    strangers_questions,
    unanswerable_questions,
)

# Tasks that are kept after they were read, as each is read at every step of its document.
_NUM_KEPT = 512

REWRITES, PAIRS, UNANSWERABLE = "rewrites", "question-answer pairs", "unanswerable questions"


@dataclass(frozen=True)
class AugmentationLimits:
    """The most rewrites and question-answer pairs to train on; None means all of them.

    Args:
        num_rewrites: How many rewrites, taken from the first on.
        num_qas: How many question-answer pairs; with 0, the passage and its rewrites are trained
            on as plain text.
    """

    num_rewrites: int | None = None
    num_qas: int | None = None

    @property
    def take_nothing(self) -> bool:
        """Whether no augmentation is needed."""
        return self.num_rewrites == 0 == self.num_qas

    @property
    def settings(self) -> dict[str, str | int]:
        """The limits that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def cut(self, augmentation: Augmentation) -> Augmentation:
        """Return the augmentation within the limits."""
        if not self.settings:
            return augmentation
        rewrites = augmentation.rewrites[: self.num_rewrites]
        qas = augmentation.qas[: self.num_qas]
        return augmentation.model_copy(update={"rewrites": rewrites, "qas": qas})

    def short(self, augmentation: Augmentation) -> Counter[str]:
        """Return, for each kind, 1 if there are fewer than the limit."""
        if not self.settings:
            return Counter()
        return Counter(
            {
                REWRITES: len(augmentation.rewrites) < (self.num_rewrites or 0),
                PAIRS: len(augmentation.qas) < (self.num_qas or 0),
            }
        )


class EncodingPlan(NamedTuple):
    """The documents to encode, and those that cannot be encoded.

    Args:
        tasks: The adapters to train.
        rejected: Why documents cannot be encoded, by document id.
        num_short: For each kind, how many documents have fewer texts than the limit.
    """

    tasks: list[EncodingTask]
    rejected: dict[str, str]
    num_short: Counter[str]


def plan_tasks(
    documents: Mapping[str, Document],
    augmentations: Mapping[str, Augmentation],
    limits: AugmentationLimits = AugmentationLimits(),
    passage_in_prompt: PassageInPrompt = "half",
    num_strangers_questions: int = 0,
    num_unanswerable: int = 0,
) -> EncodingPlan:
    """Return one encoding task for each document, with its augmentation cut to the limits.

    The tasks read their texts from the mappings when they are asked for them.

    Args:
        documents: What to encode, by id.
        augmentations: The documents' augmentations by document id.
        limits: How much of each augmentation is trained on.
        passage_in_prompt: Which question-answer pairs have passages in their prompts.
        num_strangers_questions: How many questions about other documents to append.
        num_unanswerable: How many questions that the document does not answer to append.
    """
    source = _TaskSource(
        documents,
        augmentations,
        limits,
        passage_in_prompt,
        num_strangers_questions,
        num_unanswerable,
    )
    plan = EncodingPlan([], {}, Counter())
    for document_id, document in documents.items():
        augmentation = source.augmentation(document_id)
        if not augmentation.qas and limits.num_qas != 0:
            plan.rejected[document_id] = "it has no question-answer pairs"
        elif not augmentation_is_current(document, augmentation):
            plan.rejected[document_id] = (
                "it was edited since it was augmented; `prag augment` augments it anew"
            )
        elif not document.text.strip():
            plan.rejected[document_id] = "its text is empty"
        else:
            task = source.make(document, augmentation)
            plan.tasks.append(
                StoredTask(document_id, task.num_prompts, task.num_characters, source)
            )
            plan.num_short[UNANSWERABLE] += len(augmentation.unanswerable) < num_unanswerable
            plan.num_short.update(limits.short(augmentation))
    # Documents that train side by side then begin and end together, and have prompts of similar
    # length.
    plan.tasks.sort(key=lambda task: (-task.num_prompts, task.num_characters))
    return plan


class StoredTask(EncodingTask):
    """A task that reads its prompts and its text when it is asked for them.

    Args:
        document_id: The document's id.
        num_prompts: Number of prompts.
        num_characters: Length of all prompts.
        source: Reads them.
    """

    __slots__ = ("_num_characters", "_num_prompts", "_source")
    _num_characters: int
    _num_prompts: int
    _source: "_TaskSource"

    def __init__(
        self, document_id: str, num_prompts: int, num_characters: int, source: "_TaskSource"
    ) -> None:
        for name, value in (
            ("document_id", document_id),
            ("_num_prompts", num_prompts),
            ("_num_characters", num_characters),
            ("_source", source),
        ):
            # As the base class is frozen.
            object.__setattr__(self, name, value)

    @property
    def prompts(self) -> Sequence[TrainingPrompt]:
        """What the adapter is trained on."""
        return self._source.read(self.document_id).prompts

    @property
    def text(self) -> str:
        """The document's text."""
        return self._source.read(self.document_id).text

    def in_memory(self) -> EncodingTask:
        """Return the task with its texts, to send it to a process that has no files."""
        return self._source.read(self.document_id)

    @property
    def num_prompts(self) -> int:
        """Number of prompts, without reading them."""
        return self._num_prompts

    @property
    def num_characters(self) -> int:
        """Length of all prompts, without reading them."""
        return self._num_characters

    def __reduce__(self) -> tuple[object, ...]:
        """Return what makes the task again in a process that prepares prompts."""
        return StoredTask, (
            self.document_id,
            self._num_prompts,
            self._num_characters,
            self._source,
        )


class _TaskSource:
    """Makes tasks of documents and augmentations by id, and keeps those last read."""

    def __init__(
        self,
        documents: Mapping[str, Document],
        augmentations: Mapping[str, Augmentation],
        limits: AugmentationLimits,
        passage_in_prompt: PassageInPrompt,
        num_strangers_questions: int,
        num_unanswerable: int,
    ) -> None:
        self._documents = documents
        self._augmentations = augmentations
        self._limits = limits
        self._passage_in_prompt = passage_in_prompt
        self._num_strangers_questions = num_strangers_questions
        self._num_unanswerable = num_unanswerable
        self._others = _WithPairs(augmentations if num_strangers_questions else {})
        self._kept: dict[str, EncodingTask] = {}

    def augmentation(self, document_id: str) -> Augmentation:
        """Return a document's augmentation, which is empty if there is none."""
        found = self._augmentations.get(document_id)
        return found or Augmentation(document_id=document_id, rewrites=[], qas=[])

    def make(self, document: Document, augmentation: Augmentation) -> EncodingTask:
        """Return the task of a document."""
        cut = self._limits.cut(augmentation)
        prompts = document_prompts(document, cut, self._passage_in_prompt)
        prompts += unanswerable_questions(augmentation, self._num_unanswerable)
        if self._others:
            prompts += strangers_questions(document.id, self._others, self._num_strangers_questions)
        return EncodingTask(document.id, prompts, document.text)

    def read(self, document_id: str) -> EncodingTask:
        """Return the task of an id."""
        task = self._kept.get(document_id)
        if task is None:
            task = self.make(self._documents[document_id], self.augmentation(document_id))
            if len(self._kept) >= _NUM_KEPT:
                self._kept.clear()
            self._kept[document_id] = task
        return task


class _WithPairs(Sequence[Augmentation]):
    """The augmentations that have question-answer pairs, in the order of their ids."""

    def __init__(self, augmentations: Mapping[str, Augmentation]) -> None:
        self._augmentations = augmentations
        self._ids = [name for name in sorted(augmentations) if augmentations[name].qas]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, place: int) -> Augmentation:  # type: ignore[override]
        return self._augmentations[self._ids[place]]
