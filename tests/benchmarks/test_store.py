"""The benchmark of the store runs, and what it measures is within the promises."""

import json
from pathlib import Path

from benchmarks.store import benchmark_store


def test_the_benchmark_measures_a_store_and_deletes_it(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    folder = tmp_path / "stores"
    folder.mkdir()
    benchmark_store(num_documents=400, num_params=8192, num_reads=20, folder=folder, output=output)
    figures = json.loads(output.read_text())
    assert figures["num_files"] == 5
    assert 0 < figures["overhead_percent"] < 3
    assert figures["open_s"] < 1
    assert list(folder.iterdir()) == []
