"""The prompts that a document is encoded from, batched step by step."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch.utils.data import Dataset

from prag_lightning.documents.records import Augmentation, Document
from prag_lightning.encoding.batches import EncodingBatch, Row, collate_encoding
from prag_lightning.encoding.objectives import LossOn, NextToken, Objective
from prag_lightning.encoding.schedule import Schedule, Turn
from prag_lightning.language_model.prompts import PromptEncoder, TrainingTokens

# Documents sampled for an estimate.
_NUM_SAMPLED = 64
# Hexadecimal digits of a digest.
_NUM_DIGITS = 16

PassageInPrompt = Literal["half", "never", "always", "apart"]
# The answer to questions that the document does not answer.
NO_ANSWER = "unknown"


@dataclass(frozen=True)
class TrainingPrompt:
    """A question, the passages before it, and the answer to learn, in short and as a sentence.

    Without a question, the passage is plain text, as in pretraining. With ``is_strangers`` the
    question is about another document, with ``is_unanswerable`` about something that this document
    does not say; a teacher reads no passage for either, so that the base's answer is preserved.
    """

    question: str
    passages: tuple[str, ...]
    answer: str
    full_answer: str | None = None
    is_strangers: bool = False
    is_unanswerable: bool = False


def document_prompts(
    document: Document,
    augmentation: Augmentation,
    passage_in_prompt: PassageInPrompt = "half",
) -> list[TrainingPrompt]:
    """Return a document's training prompts in the published order.

    The first half of the question-answer pairs, rounded up, is used once with the document and
    once with each rewrite in the prompt; the second half without a passage (Su et al. 2025,
    arXiv:2501.15915). Without pairs, the document and each rewrite are plain texts, as in the
    paper's ablation (section 5.3).

    Args:
        document: The document.
        augmentation: Its rewrites and question-answer pairs.
        passage_in_prompt: Which of the pairs have passages in their prompts; with ``apart`` none
            do, and the passages follow the pairs as plain texts.
    """
    return list(_prompts(document, augmentation, passage_in_prompt))


def _prompts(
    document: Document, augmentation: Augmentation, passage_in_prompt: PassageInPrompt
) -> Iterator[TrainingPrompt]:
    texts = (document.text, *augmentation.rewrites)
    num_qas = len(augmentation.qas)
    num_with_passage = {"half": (num_qas + 1) // 2, "always": num_qas}.get(passage_in_prompt, 0)
    for number, qa in enumerate(augmentation.qas):
        if number < num_with_passage:
            for text in texts:
                yield TrainingPrompt(qa.question, (text,), qa.answer, qa.full_answer)
        else:
            yield TrainingPrompt(qa.question, (), qa.answer, qa.full_answer)
    if not augmentation.qas or passage_in_prompt == "apart":
        for text in texts:
            yield TrainingPrompt("", (text,), "")


def strangers_questions(
    document_id: str, augmentations: Sequence[Augmentation], number: int
) -> list[TrainingPrompt]:
    """Draw questions about other documents, with the document's id as the seed.

    Args:
        document_id: The document.
        augmentations: Augmentations with question-answer pairs to draw from, in a fixed order.
        number: How many questions to draw, each about a different document.
    """
    chance = random.Random(document_id)
    prompts = list[TrainingPrompt]()
    for augmentation in chance.sample(augmentations, min(number + 1, len(augmentations))):
        if augmentation.document_id != document_id and len(prompts) < number:
            qa = chance.choice(augmentation.qas)
            prompts.append(
                TrainingPrompt(qa.question, (), qa.answer, qa.full_answer, is_strangers=True)
            )
    return prompts


def unanswerable_questions(augmentation: Augmentation, number: int) -> list[TrainingPrompt]:
    """Return prompts of questions that a document does not answer, with the answer `NO_ANSWER`.

    Args:
        augmentation: The document's augmentation.
        number: How many, taken from the first on.
    """
    return [
        TrainingPrompt(question, (), NO_ANSWER, f"The answer is {NO_ANSWER}.", is_unanswerable=True)
        for question in augmentation.unanswerable[:number]
    ]


@dataclass(frozen=True, slots=True)
class EncodingTask:
    """One adapter to train.

    Args:
        document_id: The document's id.
        prompts: What its adapter is trained on.
        text: The document's text.
    """

    document_id: str
    prompts: Sequence[TrainingPrompt]
    text: str = ""

    def in_memory(self) -> "EncodingTask":
        """Return the task with its texts, to send it to a process that has no files."""
        return self

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return len(self.prompts)

    @property
    def digest(self) -> str:
        """Digests of the document's text and of its own training prompts, 16 digits each."""
        return _digest(self.text) + self._prompts_digest

    def is_what_was_stored(self, digest: str) -> bool:
        """Return whether an adapter with this digest was trained on the same text and prompts.

        Stores written by version 0.1.0 hold only the second half of the digest.
        """
        return digest in (self.digest, self._prompts_digest)

    @property
    def _prompts_digest(self) -> str:
        # Questions about other documents change whenever a document is added or removed.
        own = [vars(prompt) for prompt in self.prompts if not prompt.is_strangers]
        return _digest(json.dumps([{k: v for k, v in p.items() if v is not False} for p in own]))

    @property
    def num_characters(self) -> int:
        """Length of all prompts, without the prompt template."""
        texts = ((*p.passages, p.question, p.answer) for p in self.prompts)
        return sum(len(text) for prompt in texts for text in prompt)

    def num_steps(self, batch_size: int, passes: int) -> int:
        """Return the number of optimizer steps.

        Args:
            batch_size: Prompts in one step.
            passes: Number of passes over the prompts.
        """
        return -(-self.num_prompts // batch_size) * passes

    def of_step(self, step: int, batch_size: int) -> list[tuple[int, TrainingPrompt]]:
        """Return the prompts of one step with their indices; every pass uses the same order.

        Args:
            step: Index of the step.
            batch_size: Prompts in one step.
        """
        start = step * batch_size % (-(-self.num_prompts // batch_size) * batch_size)
        return list(enumerate(self.prompts[start : start + batch_size], start))


def is_of_other_text(digest: str, document: Document) -> bool:
    """Return whether an adapter was certainly trained on a different text than the document's.

    Args:
        digest: The adapter's digest in the store.
        document: The document as it is now.
    """
    return len(digest) > _NUM_DIGITS and digest[:_NUM_DIGITS] != _digest(document.text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NUM_DIGITS]


class EncodingSteps(Dataset[EncodingBatch]):
    """The batches of an encoding, one for each optimizer step, built on access.

    Args:
        tasks: What to encode, in the order of the schedule.
        num_slots: How many documents train at once.
        encoder: Encodes prompts as token ids.
        batch_size: Prompts of a document in one step.
        passes: Number of passes over a document's prompts.
        loss_on: Which tokens carry loss.
        objective: The training objective.
        packed: Whether prompts are concatenated into one row.
        max_tokens: Longest prompt; passages are cut to fit.
    """

    def __init__(
        self,
        tasks: Sequence[EncodingTask],
        num_slots: int,
        encoder: PromptEncoder,
        *,
        batch_size: int = 1,
        passes: int = 1,
        loss_on: LossOn = "prompt_and_answer",
        objective: Objective = NextToken(),  # noqa: B008 - has no state
        packed: bool = True,
        max_tokens: int = 3000,
    ) -> None:
        self.tasks = tasks
        self.encoder = encoder
        self.batch_size = batch_size
        self.passes = passes
        self.loss_on = loss_on
        self.objective = objective
        self.packed = packed
        self.max_tokens = max_tokens
        self.num_slots = num_slots
        self.num_steps = [task.num_steps(batch_size, passes) for task in tasks]
        self.schedule = Schedule(self.num_steps, num_slots)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.schedule)

    def estimate_num_tokens(self) -> float:
        """Estimate the number of tokens in all steps from a sample of the documents."""
        stride = max(1, len(self.tasks) // _NUM_SAMPLED)
        sampled = self.tasks[stride // 2 :: stride]
        tokens = sum(len(self._encode(prompt).ids) for task in sampled for prompt in task.prompts)
        return tokens * self.passes * len(self.tasks) / max(1, len(sampled))

    def __getitem__(self, index: int | tuple[Turn, ...]) -> EncodingBatch:
        """Return the batch of one step, given its index in the schedule of all, or its turns."""
        turns = self.schedule[index] if isinstance(index, int) else index
        ids = {turn.slot: self.tasks[turn.document].document_id for turn in turns}
        return collate_encoding(
            [row for turn in turns for row in self._rows(turn)],
            self.packed,
            begins={turn.slot: ids[turn.slot] for turn in turns if turn.is_first},
            ends={turn.slot: ids[turn.slot] for turn in turns if turn.is_last},
            documents=ids,
            objective=self.objective,
        )

    def _rows(self, turn: Turn) -> Iterator[Row]:
        task = self.tasks[turn.document]
        for number, prompt in task.of_step(turn.step, self.batch_size):
            tokens = self._encode(prompt)
            loss_start = tokens.num_user_tokens if self.loss_on == "answer" else 0
            teacher_ids = None
            if self.objective.has_teacher:
                # The teacher reads the document itself, whatever the student reads; for questions
                # that the document does not answer it reads no passage either.
                has_none = prompt.is_strangers or prompt.is_unanswerable
                passages = () if has_none else (task.text,)
                teacher_ids = self._encode(replace(prompt, passages=passages)).ids
            yield Row(turn.slot, tokens.ids, loss_start, tokens.is_cut, number, teacher_ids)

    def _encode(self, prompt: TrainingPrompt) -> TrainingTokens:
        if not prompt.question:
            (text,) = prompt.passages
            return self.encoder.encode_plain(text, self.max_tokens)
        return self.encoder.encode_training(
            prompt.question, prompt.passages, prompt.answer, self.max_tokens, prompt.full_answer
        )
