"""The file of one stage of a longer measurement, written anew at every figure."""

import json
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from prag_lightning.documents.writing import write_whole


class StageResults:
    """Figures of one stage, on the disk as soon as they are known.

    Args:
        file: JSON file.
        title: What the stage measures.
    """

    def __init__(self, file: Path, title: str) -> None:
        self.file = file
        self.content: dict[str, Any] = {"title": title, "status": "running", "rows": []}
        self._write()

    def note(self, **facts: Any) -> None:
        """Keep facts about the whole stage."""
        self.content |= facts
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
        self._write()

    def add(self, row: Row) -> None:
        """Keep one row of figures."""
        self.content["rows"].append(dict(row))
        print(json.dumps(dict(row)), flush=True)
        self._write()

    def _write(self) -> None:
        write_whole(self.file, json.dumps(self.content, indent=1) + "\n")


def read_stage(file: Path) -> dict[str, Any]:
    """Return what a stage has written so far."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def end_stage(file: Path, status: str, seconds: float) -> None:
    """Note how a stage ended, whatever became of its process.

    Args:
        file: The stage's file.
        status: How it ended.
        seconds: How long it took.
    """
    content = read_stage(file) | {"status": status, "seconds": round(seconds, 1)}
    write_whole(file, json.dumps(content, indent=1) + "\n")
