"""Build time, search time, memory and recall of the BM25 index.

    python -m benchmarks.retrieval --num_passages 1000000
    python -m benchmarks.retrieval --data $PRAG_DATA/squad_augmented

Synthetic passages have 100 words drawn by Zipf's law from 800,000, and a title of two of them; a
question consists of eight of a passage's words.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

from prag_lightning.documents.records import Document, Question, read_records
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index

_NUM_WORDS = 800_000
_PASSAGE_WORDS = 100
_CHUNK = 10_000


def measure(
    num_passages: int = 100_000, num_questions: int = 200, data: Path | None = None
) -> None:
    """Print build time, search time, peak memory, and recall if gold documents are known.

    Args:
        num_passages: Size of the synthetic corpus.
        num_questions: Number of questions about it.
        data: Folder with corpus.jsonl and questions.jsonl, to measure instead.
    """
    if data:
        documents = read_records(data / "corpus.jsonl", Document)
        questions = list(read_records(data / "questions.jsonl", Question))
    else:
        documents = synthetic_passages(num_passages)
        questions = synthetic_questions(num_questions)
    with tempfile.TemporaryDirectory() as folder:
        index_dir = Path(folder) / "index"
        started = time.perf_counter()
        num_documents = build_index(documents, index_dir)
        built = time.perf_counter() - started
        size = sum(file.stat().st_size for file in index_dir.iterdir())
        print(f"{num_documents} documents indexed in {built:.1f} s, {size / 1e6:.1f} MB on disk")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
        _measure_searches(index_dir, questions)


def _measure_searches(index_dir: Path, questions: list[Question]) -> None:
    started = time.perf_counter()
    retriever = BM25Retriever(index_dir)
    opened = time.perf_counter()
    rankings = retriever.retrieve(questions, top_k=3)
    searched = time.perf_counter()
    num_found = sum(
        not {one.document_id for one in ranking}.isdisjoint(question.document_ids)
        for question, ranking in zip(questions, rankings, strict=True)
    )
    print(f"opened in {(opened - started) * 1e3:.0f} ms")
    print(f"{(searched - opened) / len(questions) * 1e3:.2f} ms a question, top 3")
    print(f"recall@3 of {len(questions)} questions: {num_found / len(questions):.4f}")


def synthetic_passages(num_passages: int) -> Iterator[Document]:
    """Yield the same passages at every call, with a separate random generator for each chunk."""
    for start in range(0, num_passages, _CHUNK):
        for number, words in enumerate(_words(start), start=start):
            if number < num_passages:
                yield Document(id=str(number), title=" ".join(words[:2]), text=" ".join(words[2:]))


def synthetic_questions(num_questions: int) -> list[Question]:
    """Return questions about the first passages, each of eight words of its passage."""
    return [
        Question(id=f"q{number}", question=" ".join(words[2::13]), document_ids=[str(number)])
        for number, words in enumerate(_words(0)[:num_questions])
    ]


def _words(chunk: int) -> list[list[str]]:
    generator = np.random.default_rng(chunk)
    ranks = generator.zipf(1.07, size=(_CHUNK, _PASSAGE_WORDS + 2)) % _NUM_WORDS
    return [[f"w{rank}" for rank in row] for row in ranks]


if __name__ == "__main__":
    auto_cli(measure)
