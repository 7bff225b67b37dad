"""What a run of ``fit`` says about its documents: before it encodes them, and at its end."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from prag_lightning.documents.naming import first_few
from prag_lightning.encoding.planning import EncodingPlan


@dataclass(frozen=True)
class Outcome:
    """What became of the documents of a run.

    Args:
        num_documents: Number of all documents.
        num_stored: Number of those that have an adapter.
        elsewhere: Documents that other processes are encoding.
        failures: Why documents have no adapter, by id.
        lengths: Documents whose prompts are too long, by what was done about it.
    """

    num_documents: int
    num_stored: int
    elsewhere: Collection[str]
    failures: Mapping[str, str]
    lengths: Mapping[str, Collection[str]]

    def lines(self, where: str) -> Iterator[str]:
        """Yield the lines to print at the end.

        Args:
            where: Folder of the adapters.
        """
        yield f"{self.num_stored} of {self.num_documents} documents are in {where}"
        if self.elsewhere:
            yield f"other processes are encoding {len(self.elsewhere)} more of them"
        for what, documents in self.lengths.items():
            if documents:
                named = first_few(sorted(documents))
                yield f"documents with prompts {what}: {len(documents)} ({named})"
        for document_id, reason in self.failures.items():
            yield f"not encoded: {document_id}: {reason}"


def plan_lines(plan: EncodingPlan, num_stored: int, num_current: int) -> Iterator[str]:
    """Yield the lines to print before encoding.

    Args:
        plan: The documents.
        num_stored: How many of them have an adapter.
        num_current: How many of these were trained on what the documents are now.
    """
    yield f"{len(plan.tasks)} documents, {num_current} of them encoded before"
    if num_changed := num_stored - num_current:
        yield f"{num_changed} of them have changed, and are encoded anew"
    for kind, count in (+plan.num_short).items():
        yield f"{count} of them have fewer {kind} than asked for; all are taken"
