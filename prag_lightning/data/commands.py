"""The command ``prag data``: bring data sets into the toolkit's form."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import PositiveInt

FormatName = Literal[
    "2wikimultihopqa",
    "beir",
    "complexwebquestions",
    "dpr",
    "flashrag",
    "hotpotqa",
    "jsonl",
    "popqa",
    "published",
    "squad",
    "text",
]


def convert(
    format: FormatName, source: Path, output_dir: Path, limit: PositiveInt | None = None
) -> None:
    """Write a data set as documents.jsonl, questions.jsonl and augmentations.jsonl.

    Args:
        format: What the source is; docs/datasets.md says more of each.
        source: File or folder to read.
        output_dir: Folder to write into.
        limit: Take the first so many questions, of each type where there are types. The whole
            source is taken without it.
    """
    from prag_lightning.counting import counted
    from prag_lightning.data.convert import first_questions, write_entries
    from prag_lightning.data.formats import FORMATS

    entries = FORMATS[format](source)
    if limit is not None:
        entries = first_questions(entries, limit)
    counts = write_entries(counted(entries, "entries"), output_dir)
    print(f"{', '.join(f'{count} {name}' for name, count in counts.items())}: {output_dir}")


DATA_COMMANDS: dict[str, Any] = {"convert": convert}
