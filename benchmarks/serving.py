"""A service against one question at a time: questions a second, times, start, and memory.

    python -m benchmarks.serving --run runs/demo --output serving.json

Both sides answer the same questions in turn, round after round. The clients are a process of their
own on the same machine.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from jsonargparse import auto_cli

from prag_lightning.answerer import Answerer
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.requests import AnswerMethod
from prag_lightning.documents.records import Question, read_records

_METHOD: AnswerMethod = "prag"
_CLIENTS = Path(__file__).with_name("light_clients.py")
_NO_LIMIT = "1000000"
# Memory is read after this many questions each time, from the first time on.
_EVERY = 50
_CPU, _MEMORY = "process_cpu_seconds_total", "process_resident_memory_bytes"


class Asked(NamedTuple):
    """What a client got.

    Args:
        text: The answer.
        seconds: How long it took.
    """

    text: str
    seconds: float


def benchmark_serving(
    run: Path,
    num_questions: int = 300,
    num_clients: int = 8,
    num_rounds: int = 3,
    num_memory_questions: int = 3000,
    output: Path | None = None,
) -> None:
    """Measure a service on a run, and print figures as JSON.

    Args:
        run: Root folder of the run.
        num_questions: How many questions are asked in a round.
        num_clients: How many clients ask at once.
        num_rounds: How many rounds; times are medians over them.
        num_memory_questions: How many questions are asked while memory is watched.
        output: Also write the figures to this file.
    """
    file = read_run(run).questions
    questions = [record.question for record in read_records(file, Question)][:num_questions]
    begun = time.perf_counter()
    with _service(run) as port:
        _, [first] = _ask_all(port, questions[:1], 1)
        figures: dict[str, float] = {
            "first_answer_s": time.perf_counter() - begun,
            "first_answer_cpu_s": _metric(port, _CPU),
        }
        with Answerer.from_run(run) as answerer:
            alone = [one.text.strip() for one in answerer.answer(questions, _METHOD)]
            figures |= _compare(port, answerer, questions, num_clients, num_rounds, alone)
        assert first.text == alone[0]
        figures |= _watch_memory(port, questions, num_clients, num_memory_questions)
    text = json.dumps(figures, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


def _compare(
    port: int,
    answerer: Answerer,
    questions: Sequence[str],
    num_clients: int,
    num_rounds: int,
    expected: Sequence[str],
) -> dict[str, float]:
    rates: dict[str, list[float]] = {"answerer": [], "one_client": [], "clients": []}
    cpu: dict[str, list[float]] = {name: [] for name in rates}
    times, num_different = list[float](), 0

    def note(name: str, seconds: float, processor_seconds: float) -> None:
        rates[name].append(len(questions) / seconds)
        cpu[name].append(processor_seconds / len(questions))

    def ask(name: str, number: int) -> list[Asked]:
        begun = _metric(port, _CPU)
        seconds, said = _ask_all(port, questions, number)
        note(name, seconds, _metric(port, _CPU) - begun)
        return said

    for number in range(num_rounds):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        one_by_one = [answerer.answer([text], _METHOD)[0].text.strip() for text in questions]
        note("answerer", time.perf_counter() - begun, time.process_time() - begun_cpu)
        ask("one_client", 1)
        said = ask("clients", num_clients)
        times += [one.seconds for one in said]
        num_different += sum(one.text != text for one, text in zip(said, one_by_one, strict=True))
        num_different += sum(a != b for a, b in zip(one_by_one, expected, strict=True))
        shown = ", ".join(f"{name} {values[-1]:.1f}/s" for name, values in rates.items())
        print(f"round {number + 1}: {shown}", file=sys.stderr)
    cuts = statistics.quantiles(times, n=100)
    return {
        **{f"{name}_per_s": statistics.median(values) for name, values in rates.items()},
        **{f"{name}_cpu_ms": 1e3 * statistics.median(values) for name, values in cpu.items()},
        "ratio": statistics.median(
            many / one for many, one in zip(rates["clients"], rates["answerer"], strict=True)
        ),
        "p50_ms": 1e3 * cuts[49],
        "p95_ms": 1e3 * cuts[94],
        "num_different": num_different,
    }


def _watch_memory(
    port: int, questions: Sequence[str], num_clients: int, num_questions: int
) -> dict[str, float]:
    """Ask on, and return the memory of the service and its slope."""
    asked, sizes = list[int](), list[float]()
    while not asked or asked[-1] < num_questions:
        start = asked[-1] if asked else 0
        part = [questions[(start + place) % len(questions)] for place in range(_EVERY)]
        _ask_all(port, part, num_clients)
        asked.append(start + _EVERY)
        sizes.append(_metric(port, _MEMORY))
    slope = statistics.linear_regression(asked, sizes).slope if len(asked) > 1 else 0.0
    return {
        "memory_first_mib": sizes[0] / 2**20,
        "memory_last_mib": sizes[-1] / 2**20,
        "memory_kib_per_1000_questions": 1000 * slope / 2**10,
    }


def _ask_all(port: int, questions: Sequence[str], num_clients: int) -> tuple[float, list[Asked]]:
    """Ask questions, each client one after another.

    Args:
        port: Port of the service.
        questions: The questions.
        num_clients: How many clients ask at once.

    Returns:
        The seconds that all took, and what the clients got, in the order of the questions.
    """
    bodies = [
        {"model": _METHOD, "messages": [{"role": "user", "content": text}]} for text in questions
    ]
    asked = json.dumps({"port": port, "num_clients": num_clients, "bodies": bodies})
    command = [sys.executable, str(_CLIENTS)]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    seconds, answers = json.loads(done.stdout)
    said = [(answer["choices"][0]["message"]["content"], own) for answer, own in answers]
    return seconds, [Asked(*one) for one in said]


def _metric(port: int, name: str) -> float:
    """Return one of the figures that the service gives to Prometheus."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    [value] = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(value)


@contextmanager
def _service(run: Path) -> Iterator[int]:
    """Start a service, and give its port once questions can be asked."""
    command = [sys.executable, "-m", "prag_lightning", "serve", "--run", str(run), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "PRAG_API_KEY"}
    with subprocess.Popen(
        [*command, "--requests_per_second", _NO_LIMIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            [port] = re.findall(r"127\.0\.0\.1:(\d+)/,", process.stdout.readline())
            _wait_until(lambda: _is_ready(int(port)))
            yield int(port)
        finally:
            process.terminate()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/health")
    status = connection.getresponse().status
    connection.close()
    return status == 200


def _wait_until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        time.sleep(0.02)


if __name__ == "__main__":
    auto_cli(benchmark_serving, as_positional=False)
