"""Answering questions from Python: a base model and a store of adapters, loaded once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from prag_lightning.adapters.merge import MergeRule
from prag_lightning.adapters.store.opening import AdapterStore, open_store
from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.answering.answers import Answer, answers_with_evidence
from prag_lightning.answering.extraction import Scoring
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.merging import AdapterMerger
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.documents.folder import read_corpus
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.language_model.base_model import Dtype, Quantization
from prag_lightning.language_model.exemplars import read_exemplars
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.templates import find_template
from prag_lightning.module import ParametricRAG
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.default_index import build_missing_index, open_index

# Those that need no gold documents.
AnswerMethod = Literal["closed_book", "rag", "prag", "combine"]


class Answerer:
    """Answers questions from documents, in the prompt, in the weights, or in both.

    >>> answerer = Answerer("demo", "runs/demo/adapters", "runs/demo/data")  # doctest: +SKIP
    >>> [answer] = answerer.answer(["Where was Ada born?"])  # doctest: +SKIP

    Args:
        base: Hub name or folder of the language model; ``demo`` is the embedded one.
        store: Folder of the adapters.
        folder: Where ``documents.jsonl`` and, if it holds more, ``corpus.jsonl`` are.
        retriever: How documents are found; by default BM25.
        index_dir: Folder of the BM25 index, built where it is missing; by default ``index`` in
            ``folder``.
        merge: How adapters are weighted.
        temperature: Of the merge rule ``score``, in units of the retriever's scores.
        top_k: How many documents are retrieved.
        warm_start: What the adapters started from.
        template: Wording of the prompts: a name, a YAML file, or the fields of a template.
        exemplars: JSON file of examples for the prompt.
        few_shot_in_training: Whether the adapters were trained with the examples.
        scoring: How an answer is cut out of what the model says.
        dtype: Of the base model's weights.
        quantization: Load the base in 4 or 8 bits with bitsandbytes.
        max_new_tokens: Longest answer, in tokens.
        max_tokens: Longest prompt; passages are cut to fit.
        batch_size: Questions that are answered together.
        device: Where the model is; by default a GPU, where there is one.
        trust_remote_code: Run Python code that comes with the base model.

    Raises:
        FileNotFoundError: If the base, the store or the documents are not there.
        ValueError: If the adapters were made for another base, prompt or warm start.
    """

    def __init__(
        self,
        base: str,
        store: str | Path,
        folder: str | Path,
        *,
        retriever: Retriever | None = None,
        index_dir: str | Path | None = None,
        merge: MergeRule = "anchored",
        temperature: float = 1.0,
        top_k: int = 3,
        warm_start: WarmStartSource = WarmStartSource(),  # noqa: B008 - frozen
        template: str | dict[str, str] = "direct",
        exemplars: str | None = None,
        few_shot_in_training: bool = True,
        scoring: Scoring = "strict",
        dtype: Dtype = "auto",
        quantization: Quantization | None = None,
        max_new_tokens: int = 20,
        max_tokens: int = 3000,
        batch_size: int = 32,
        device: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.folder = folder = Path(folder)
        self.documents = read_corpus(folder)
        if retriever is None:
            index_dir = Path(index_dir or folder / "index")
            build_missing_index(folder, index_dir)
            retriever = open_index(folder, index_dir)
        self.retriever = retriever
        self.top_k = top_k
        self.scoring: Scoring = scoring
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        with open_store(store, mode="read") as opened:
            recipe = opened.recipe
        self._module = ParametricRAG(
            base,
            recipe.lora,
            num_slots=1 + top_k,
            dtype=dtype,
            quantization=quantization,
            max_new_tokens=max_new_tokens,
            trust_remote_code=trust_remote_code,
        )
        self._module.warm_start = warm_start
        self._encoder = PromptEncoder(
            self._module.tokenizer, find_template(template), read_exemplars(exemplars)
        )
        self._load_base(device)
        # Trained as they were, they must be of this base, prompt and warm start.
        trained = self._encoder.for_training(few_shot_in_training)
        expected = self._module.recipe_of(trained, recipe.training)
        self._open = lambda: open_store(store, expected, mode="read")
        start = self._module.warm_start_row()
        self._merger = AdapterMerger(self._module.bank, self._open(), start, merge, temperature)

    @classmethod
    def from_run(cls, run_dir: str | Path, **changes: Any) -> "Answerer":
        """Return what answers as ``prag test`` does, or would do, in a run's folder.

        Args:
            run_dir: Root folder of a run of ``prag fit``, and perhaps of ``prag test``.
            changes: Arguments that are to be others.

        Raises:
            FileNotFoundError: If nothing was run in the folder.
        """
        return cls(**{**read_run(Path(run_dir)), **changes})

    @property
    def store(self) -> AdapterStore:
        """Where the adapters are."""
        assert self._merger.store is not None
        return self._merger.store

    def reopen_store(self) -> None:
        """See the adapters that came into the store since it was opened."""
        self.store.close()
        self._merger.store = self._open()

    def retrieve(self, questions: Sequence[str]) -> list[list[RetrievedDocument]]:
        """Return the documents found for each question, best first."""
        return self.retriever.retrieve(_numbered(questions), self.top_k)

    def answer(self, questions: Sequence[str], method: AnswerMethod = "prag") -> list[Answer]:
        """Return an answer to each question, and the documents behind it.

        Documents that have no adapter are left out of a merge, and named in ``missing``.

        Args:
            questions: What is asked.
            method: ``closed_book`` reads nothing, ``rag`` the documents found, ``prag`` has their
                adapters, ``combine`` both.

        Returns:
            In the order of the questions.

        Raises:
            ValueError: If a question is empty.
        """
        asked = _numbered(questions)
        found = self.retriever.retrieve(asked, self.top_k)
        batches = QuestionBatches(
            method,
            asked,
            {question.id: row for question, row in zip(asked, found, strict=True)},
            self.documents,
            [],
            self._encoder,
            self.batch_size,
            self.max_tokens,
        )
        answers: dict[str, Answer] = {}
        for number in range(len(batches)):
            batch = batches[number].to(self._module.device)
            merges = [self._merger.choose(documents) for documents in batch.adapters]
            with torch.inference_mode(), self._module.bank.routed(self._merger.load(merges)):
                texts = self._module.predict_step(batch, number)
            reasons = self._encoder.template.reasons
            for answer in answers_with_evidence(batch, merges, texts, self.scoring, reasons):
                answers[answer.question_id] = answer
        return [answers[question.id] for question in asked]

    def _load_base(self, device: str | None) -> None:
        self._module.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._module.configure_model()
        # Quantized weights are there already.
        self._module.to(self._module.device)


def _numbered(questions: Sequence[str]) -> list[Question]:
    if isinstance(questions, str):
        raise ValueError(f"one question, '{questions}', was given; give a list of questions")
    for number, text in enumerate(questions, start=1):
        if not text.strip():
            raise ValueError(f"question number {number} is empty")
    return [Question(id=str(number), question=text) for number, text in enumerate(questions)]
