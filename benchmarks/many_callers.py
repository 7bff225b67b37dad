"""Questions from many threads at once through one `Answerer`, against one at a time; its memory.

python benchmarks/many_callers.py runs/demo --output many_callers.json
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import psutil
import torch

# Allows running this file from any folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Row, describe, report
from prag_lightning import Answerer, Question
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.requests import AnswerMethod
from prag_lightning.documents.records import read_records

# One at a time and many at once take turns, so that slow phases of the machine affect both alike.
_NUM_TURNS = 4
# Until then, adapters are read for the first time and memory pools grow.
_FIRST_MEASURED = 50


class Asked(NamedTuple):
    """A question's text and answer, and how long a caller waited for it."""

    question: str
    text: str
    seconds: float


def ask(answerer: Answerer, question: str, method: AnswerMethod) -> Asked:
    """Ask a question as one caller."""
    start = time.perf_counter()
    [answer] = answerer.answer([question], method)
    return Asked(question, answer.text, time.perf_counter() - start)


def ask_all(
    answerer: Answerer, questions: Sequence[str], method: AnswerMethod, num_threads: int
) -> tuple[list[Asked], float]:
    """Ask questions from several threads, and return what came back, and the seconds of all."""
    start = time.perf_counter()
    with ThreadPoolExecutor(num_threads) as threads:
        asked = list(threads.map(lambda question: ask(answerer, question, method), questions))
    return asked, time.perf_counter() - start


def compare(
    answerer: Answerer, questions: Sequence[str], method: AnswerMethod, numbers: Sequence[int]
) -> tuple[list[Row], int]:
    """Return a row for each number of threads, and how many answers differ from the first's."""
    found: dict[int, list[Asked]] = {number: [] for number in numbers}
    seconds = dict.fromkeys(numbers, 0.0)
    size = -(-len(questions) // _NUM_TURNS)
    for turn in range(_NUM_TURNS):
        for number in numbers:
            asked, took = ask_all(
                answerer, questions[turn * size : (turn + 1) * size], method, number
            )
            found[number] += asked
            seconds[number] += took
    first = numbers[0]
    texts = {one.question: one.text for one in found[first]}
    differing = sum(one.text != texts[one.question] for many in found.values() for one in many)
    rows: list[Row] = []
    for number in numbers:
        cuts = quantiles((one.seconds for one in found[number]), n=20)
        rows.append(
            {
                "name": f"{number} at once",
                "questions_per_second": len(questions) / seconds[number],
                "times_one": seconds[first] / seconds[number],
                "p50_seconds": cuts[9],
                "p95_seconds": cuts[18],
                "p95_by_p50": cuts[18] / cuts[9],
            }
        )
    return rows, differing


def memory_slope(
    answerer: Answerer, questions: Sequence[str], method: AnswerMethod, num_asked: int
) -> tuple[float, float]:
    """Ask many questions, and return how the resident memory grows.

    Args:
        answerer: The answerer.
        questions: The questions, asked over and over.
        method: The method.
        num_asked: How many are asked.

    Returns:
        The growth in KiB per question, by least squares from question 50 on, and the memory at the
        end in MiB.
    """
    process = psutil.Process()
    numbers, sizes = [], []
    for first in range(0, num_asked, 8):
        together = [questions[(first + i) % len(questions)] for i in range(8)]
        ask_all(answerer, together, method, 8)
        if first >= _FIRST_MEASURED:
            numbers.append(float(first))
            sizes.append(process.memory_info().rss / 1024)
    x, y = torch.tensor(numbers), torch.tensor(sizes, dtype=torch.float64)
    x = x.double() - x.double().mean()
    return float((x @ y) / (x @ x)), sizes[-1] / 1024


def run(
    run: Path,
    method: AnswerMethod = "prag",
    num_questions: int = 300,
    threads: tuple[int, ...] = (1, 8),
    memory: int = 0,
    output: str | None = None,
) -> None:
    """Time questions through one `Answerer`, one at a time and from many threads at once.

    Args:
        run: Folder of a run of ``prag fit``.
        method: The method that answers.
        num_questions: How many questions are asked.
        threads: Numbers of threads; the others are compared with the first.
        memory: After that, ask this many questions and measure the memory.
        output: JSON file of the results.
    """
    records = read_records(read_run(run).questions, Question)
    questions = [one.question for one in islice(records, num_questions)]
    with Answerer.from_run(run) as answerer:
        answerer.answer(questions[:2], method)
        rows, differing = compare(answerer, questions, method, threads)
        facts = {**describe(answerer.module.device), "method": method, "differing": differing}
        if memory:
            slope, at_end = memory_slope(answerer, questions, method, memory)
            facts |= {"kib_per_question": slope, "mib_at_end": at_end}
    report(f"{len(questions)} questions from several threads", facts, rows, output)


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(run)
