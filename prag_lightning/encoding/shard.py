"""One of several equal parts of the documents, for job arrays."""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """A part of the documents, chosen by a hash of the id, so that their order does not matter.

    Args:
        index: Number of the part, from 0.
        count: Number of parts.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text such as ``3/16`` names.

        Raises:
            ValueError: If it names none.
        """
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        index, count = map(int, numbers.groups()) if numbers else (0, 0)
        if index >= count:
            raise ValueError(
                f"shard is {text!r}; give INDEX/COUNT, where INDEX counts from 0 as "
                "SLURM_ARRAY_TASK_ID and JOB_COMPLETION_INDEX do: the shards of 16 are 0/16 to "
                "15/16"
            )
        return cls(index, count)

    def holds(self, document_id: str, rank: int = 0, num_processes: int = 1) -> bool:
        """Return whether a document is in this shard, and belongs to a process of it.

        Args:
            document_id: The document.
            rank: Rank of the process.
            num_processes: Number of processes that divide this shard in the same way.
        """
        digest = hashlib.sha256(document_id.encode()).digest()
        rest, index = divmod(int.from_bytes(digest[:8], "big"), self.count)
        return index == self.index and rest % num_processes == rank

    def __str__(self) -> str:
        """Return the text that names it."""
        return f"{self.index}/{self.count}"
