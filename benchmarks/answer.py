"""Answering questions: the published loop against the bank at several batch sizes.

python benchmarks/answer.py --size tiny --output answer.json
"""

import random
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.encode import DeviceName
from benchmarks.measure import Method, Row, describe, now, report, restart_tuned, run_interleaved
from benchmarks.published import answer_published
from benchmarks.workload import SIZES, SizeName, random_base, random_text, write_tokenizer
from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
)
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import Recipe
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import answer_questions
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.language_model.prompts import PromptEncoder

NUM_DOCUMENTS, TOP_K, NUM_NEW_TOKENS = 24, 3, 20
BATCH_SIZES = (1, 8, 32)


class AnsweringBenchmark:
    """Questions over 24 documents with random adapters, three documents per question.

    Args:
        size_name: Size of the model.
        device: Device to run on.
        root: Folder for scratch files.
        num_questions: Number of questions.
    """

    def __init__(
        self,
        size_name: SizeName,
        device: torch.device,
        root: Path,
        num_questions: int = max(BATCH_SIZES),
    ) -> None:
        size = SIZES[size_name]
        self.device = device
        self.root = root
        write_tokenizer(size, root / "tokenizer")
        self.encoder = PromptEncoder(load_tokenizer(str(root / "tokenizer")))
        self.encoder.tokenizer.padding_side = "left"
        self.published = random_base(size, device).float()
        self.base = random_base(size, device)
        self.bank = AdapterBank(self.base, LoraConfig(), 1)
        self._write_adapters()
        draw = random.Random(0)
        self.questions = [
            Question(id=str(number), question=random_text(draw, draw.randint(5, 40)))
            for number in range(num_questions)
        ]
        names = [self._name(number) for number in range(NUM_DOCUMENTS)]
        self.retrieved = {
            question.id: [RetrievedDocument(name, 1.0) for name in draw.sample(names, TOP_K)]
            for question in self.questions
        }
        self.documents = {name: Document(id=name, text="") for name in names}

    def answer_published(self, num_questions: int, texts: dict[str, str]) -> float:
        """Answer questions one by one, as published; return the seconds."""
        # Evenly spaced, for a mix of lengths: batches are sorted by length.
        batches = self._batches(1)[:: len(self.questions) // num_questions]
        start = now(self.device)
        for batch in batches:
            folders = [self._folder(found.document_id) for found in batch.adapters[0]]
            ids, self.published = answer_published(
                self.published, folders, batch.input_ids.to(self.device), NUM_NEW_TOKENS
            )
            (text,) = self.encoder.tokenizer.batch_decode(ids[None], skip_special_tokens=True)
            texts[batch.questions[0].id] = text
        return now(self.device) - start

    def answer_with_bank(
        self, batch_size: int, texts: dict[str, str], num_questions: int | None = None
    ) -> float:
        """Answer questions in batches, with adapters from a store; return the seconds.

        Args:
            batch_size: Number of questions in a batch.
            texts: Gets the answers, by question.
            num_questions: Answer only about this many; None for all.
        """
        batches = self._batches(batch_size)
        # Evenly spaced, for a mix of lengths.
        batches = batches[:: len(self.questions) // (num_questions or len(self.questions))]
        start = now(self.device)
        with open_store(self.root / "store", self._recipe(), mode="read") as store:
            for batch in batches:
                ids = sorted({f.document_id for row in batch.adapters for f in row})
                rows = store.get_many(ids).to(self.device)
                slots = [[ids.index(f.document_id) for f in row] for row in batch.adapters]
                route = Route(torch.tensor(slots).to(self.device), adapters=rows)
                with torch.no_grad(), self.bank.routed(route):
                    answers = self._generate(batch.to(self.device))
                texts.update(zip((q.id for q in batch.questions), answers, strict=True))
        return now(self.device) - start

    def answer_without_adapters(self) -> dict[str, str]:
        """Return the base's answers."""
        (batch,) = self._batches(len(self.questions))
        answers = self._generate(batch.to(self.device))
        return dict(zip((q.id for q in batch.questions), answers, strict=True))

    def _generate(self, batch: QuestionBatch) -> list[str]:
        return answer_questions(self.base, self.encoder.tokenizer, batch, NUM_NEW_TOKENS).texts

    def _batches(self, batch_size: int) -> list[QuestionBatch]:
        batches = QuestionBatches(
            "prag",
            self.questions,
            self.retrieved,
            self.documents,
            list(self.documents),
            self.encoder,
            batch_size,
            max_tokens=3000,
        )
        return [batches[number] for number in range(len(batches))]

    def _write_adapters(self) -> None:
        self.bank.resize(NUM_DOCUMENTS)
        generator = torch.Generator().manual_seed(0)
        layout, lora = self.bank.layout, self.bank.config
        rows = torch.randn(NUM_DOCUMENTS, layout.num_params, generator=generator) * 0.02
        names = [self._name(number) for number in range(NUM_DOCUMENTS)]
        with open_store(self.root / "store", self._recipe(), mode="write") as store:
            store.put_many(names, rows, names)
        for name, row in zip(names, rows, strict=True):
            self._folder(name).mkdir(parents=True)
            (self._folder(name) / WEIGHTS_FILE).write_bytes(adapter_bytes(row, layout))
            (self._folder(name) / CONFIG_FILE).write_bytes(config_json(lora, "random"))

    def _recipe(self) -> Recipe:
        return Recipe(
            base_model="random",
            base_digest="",
            lora=self.bank.config,
            modules=self.bank.layout.modules,
            warm_start="",
            training={},
            prompt_version="",
        )

    def _folder(self, name: str) -> Path:
        return self.root / "peft" / name

    @staticmethod
    def _name(number: int) -> str:
        return f"document-{number:02d}"


def run(
    size: SizeName = "tiny", device: DeviceName = "cpu", output: str | None = None, rounds: int = 5
) -> None:
    """Time the ways of answering questions from merged adapters, and check that they agree.

    Times are CPU seconds of one thread on a CPU, and wall-clock seconds on a GPU.

    Args:
        size: Shape of the model, which has random weights.
        device: Device to run on.
        output: JSON file of the results.
        rounds: How often to time each.

    Raises:
        RuntimeError: If a question has another answer in a batch than in the published loop.
    """
    where = torch.device(device)
    if device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        benchmark = AnsweringBenchmark(size, where, Path(root))
        texts: dict[str, dict[str, str]] = {"published": {}}
        benchmark.answer_published(1, texts["published"])
        published = partial(benchmark.answer_published, 4, texts["published"])
        methods = [Method("published", published, 4, rounds)]
        for batch_size in BATCH_SIZES:
            name = f"bank-batch-{batch_size}"
            texts[name] = {}
            answer = partial(benchmark.answer_with_bank, batch_size, texts[name])
            answer()
            methods.append(Method(name, answer, len(benchmark.questions), rounds))
        run_interleaved(methods, lambda: None)
        agreement = _compare(texts, benchmark.answer_without_adapters())
    if SIZES[size].dtype == torch.float32 and agreement["agreeing"] < agreement["compared"]:
        raise RuntimeError(f"the bank answers otherwise than the published loop: {agreement}")
    rows: list[Row] = [
        {
            "name": method.name,
            "questions": method.num_items,
            "rounds": len(method.seconds),
            "seconds_per_question": method.seconds_per_item,
            "questions_per_second": 1 / method.seconds_per_item,
            "times_published": methods[0].seconds_per_item / method.seconds_per_item,
        }
        for method in methods
    ]
    facts = {**describe(where), "size": size, **agreement}
    report(f"Answering, {size} on {device}", facts, rows, output)


def _compare(texts: dict[str, dict[str, str]], base: dict[str, str]) -> dict[str, int]:
    """Count the answers that agree with the published loop, and with the base."""
    published = texts.pop("published")
    agreeing = [
        answers[question] == text
        for answers in texts.values()
        for question, text in published.items()
    ]
    same = sum(base[question] == text for question, text in published.items())
    return {"compared": len(agreeing), "agreeing": sum(agreeing), "as_without_adapters": same}


if __name__ == "__main__":
    restart_tuned()
    from jsonargparse import auto_cli

    auto_cli(run)
