"""Every benchmark runs at a toy size, and its report holds what it promises."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import answer, encode, memory, writers
from benchmarks.measure import Method, run_interleaved
from benchmarks.published import PersistentLoop
from benchmarks.workload import SIZES, Size, encoding_flops, random_base
from prag_lightning.adapters.layout import LoraConfig

# Lightning warns of what a toy run on a CPU lacks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*module.s. in eval mode"),
    # PEFT, where the published loop deletes the merged adapter.
    pytest.mark.filterwarnings("ignore:Adapter merge was active"),
]


@pytest.fixture(autouse=True)
def _restore_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    # What a benchmark sets for its process.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_encoding_reports_the_whole_ladder(tmp_path: Path) -> None:
    output = tmp_path / "encode.json"
    encode.run("smoke", output=str(output))
    result = json.loads(output.read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["published", "published_unpadded", "persistent", "bank-1", "bank-4"]
    for row in rows.values():
        seconds = row["seconds_per_document"]
        assert 0 < seconds < 60
        assert row["times_published"] == pytest.approx(
            rows["published"]["seconds_per_document"] / seconds
        )
    best = max(rows["bank-1"]["fraction_of_limit"], rows["bank-4"]["fraction_of_limit"])
    assert result["fraction_of_limit"] == best
    assert 0 < best < 1


@pytest.mark.slow
def test_answers_of_a_batch_are_those_of_the_published_loop(tmp_path: Path) -> None:
    output = tmp_path / "answer.json"
    answer.run("smoke", output=str(output), rounds=1)
    result = json.loads(output.read_text())
    # Four questions at three batch sizes.
    assert result["agreeing"] == result["compared"] == 12
    # The adapters have their say.
    assert result["as_without_adapters"] < 4
    assert [row["name"] for row in result["rows"]][1:] == [
        f"bank-batch-{size}" for size in (1, 8, 32)
    ]


def test_a_bank_holds_more_memory_than_nothing() -> None:
    assert memory.peak_bytes("smoke", "cpu", "bank-2") > 0


def test_the_necessary_arithmetic_is_what_torch_counts_but_for_the_attention() -> None:
    size = Size(64, 3, 128, 4, 2, 300)
    loop = PersistentLoop(random_base(size, torch.device("cpu")), LoraConfig())
    ids = torch.arange(40)[None]
    with FlopCounterMode(display=False) as counter:
        loop.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    # torch does not count attention on a CPU, and PEFT's loop reads the last token's logits too.
    attention = 6 * size.hidden * size.layers * 40 * 40
    last_logits = 4 * size.hidden * size.vocabulary
    expected = encoding_flops(size, [40]) - attention + last_logits
    assert counter.get_total_flops() == expected


def test_methods_take_turns_and_slow_ones_fewer() -> None:
    order: list[str] = []

    def method(name: str, rounds: int) -> Method:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return Method(name, run, 2, rounds)

    slow, fast = method("slow", 1), method("fast", 3)
    run_interleaved([slow, fast], lambda: order.append("limit"))
    assert order == ["limit", "slow", "fast", "limit", "fast", "limit", "fast"]
    assert fast.seconds == [3.0, 5.0, 7.0]
    assert fast.seconds_per_item == 2.5


def test_sizes_have_the_shapes_that_they_are_named_for() -> None:
    llama = SIZES["llama-1b"]
    base = random_base(llama, torch.device("meta"))
    assert sum(p.numel() for p in base.parameters()) == pytest.approx(1.236e9, rel=0.001)
    assert (SIZES["tiny"].hidden, SIZES["tiny"].layers) == (64, 2)
    assert (SIZES["medium"].hidden, SIZES["medium"].layers) == (512, 8)


@pytest.mark.slow
def test_independent_writers_report_that_no_document_was_trained_twice(tmp_path: Path) -> None:
    writers.run(documents=4, writers=[2], num_slots=1, output=str(tmp_path / "writers.json"))
    (row,) = json.loads((tmp_path / "writers.json").read_text())["rows"]
    assert (row["name"], row["documents"], row["trained_twice"]) == ("writers-2", 4, 0)
    assert row["documents_per_second"] == pytest.approx(4 / row["seconds"])
    assert row["processor_seconds_per_document"] > 0
