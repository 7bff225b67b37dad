"""SQuAD and HotpotQA as Hugging Face's datasets exports them."""

import json
from pathlib import Path
from typing import Any

import pytest

from prag_lightning.documents.formats import FORMATS
from tests.documents.sources import HF_HOTPOTQA, HF_SQUAD, SAMPLES


@pytest.mark.parametrize("suffix", ["json", "lines.json", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("name", "rows", "sample"),
    [("squad", HF_SQUAD, "squad.json"), ("hotpotqa", HF_HOTPOTQA, "hotpotqa.json")],
)
def test_what_hugging_face_s_datasets_exports_is_read_as_the_original(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], sample: str, suffix: str
) -> None:
    file = tmp_path / f"export.{suffix}"
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(rows), file)
    elif suffix == "json":
        file.write_text(json.dumps(rows))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(FORMATS[name](file)) == list(FORMATS[name](SAMPLES / sample))
