"""Running any augmenter on documents, resuming where an earlier run stopped."""

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.deliveries import Deliveries
from prag_lightning.augmentation.outcome_files import OutcomeFiles, State
from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.progress import Progress
from prag_lightning.augmentation.review import require_settings, take_out_outdated
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Document


@dataclass(frozen=True)
class Summary:
    """Results of a run, including those of earlier runs.

    Args:
        num_documents: Number of documents.
        num_augmented: Number of documents with an augmentation that can be trained on.
        num_todo: Number of documents that this run had to augment.
        num_before: Number of augmented documents before this run.
        num_anew: Number of documents that were augmented again because their text has changed.
        num_in_part: Number of documents that lack some of the requested pairs and rewrites.
        num_failed: Number of failed documents, in this run or before.
        usage: Usage of the language model in this run.
        seconds: Duration of the run.
    """

    num_documents: int
    num_augmented: int
    num_todo: int
    num_before: int
    num_anew: int
    num_in_part: int
    num_failed: int
    usage: Usage
    seconds: float

    @property
    def num_missing(self) -> int:
        """Number of documents neither augmented nor failed, because a process of the run died."""
        return self.num_documents - self.num_augmented - self.num_failed

    def __str__(self) -> str:
        """Return a summary in two lines, or one if no language model was used."""
        states = {
            "augmented": self.num_augmented,
            "of them before": self.num_before,
            f"anew, for {'its' if self.num_anew == 1 else 'their'} text has changed": self.num_anew,
            "in part": self.num_in_part,
            "failed": self.num_failed,
            "not reached": self.num_missing,
        }
        shares = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        noun = "document" if self.num_documents == 1 else "documents"
        lines = [f"{self.num_documents} {noun}" + (f": {shares}" if shares else "")]
        if not self.num_todo:
            lines[0] += "; there was nothing to do"
        if self.usage.num_requests:
            lines.append(f"{self._describe_usage()}, {self.seconds:.1f} s")
        return "\n".join(lines)

    def _describe_usage(self) -> str:
        counts = {
            "requests": self.usage.num_requests,
            "answers of no use": self.usage.num_refused,
            "pairs or texts that their document does not say": self.usage.num_ungrounded,
            "tokens read": self.usage.num_prompt_tokens,
            "written": self.usage.num_new_tokens,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def run_augmentation(
    documents: Sequence[Document], augmenter: Augmenter, output: Path, rank: int = 0
) -> Summary:
    """Augment the documents that are neither augmented in ``output`` nor failed.

    Documents whose text has changed since are augmented again.

    Args:
        documents: Documents with distinct ids.
        augmenter: The augmenter.
        output: File to append augmentations to; the failures are written next to it.
        rank: Rank of this process, if several run at once.

    Raises:
        ValueError: If ``output`` contains augmentations made with other settings.
        ConnectionError: If the augmenter's server is lost; finished documents are kept.
    """
    start = time.monotonic()
    with OutcomeFiles(output, augmenter.settings, rank) as files:
        changed: set[str] = set()
        if rank == 0:
            require_settings(files, augmenter.settings)
            digests = {document.id: text_digest(document) for document in documents}
            changed = take_out_outdated(files, digests, augmenter.max_attempts)
        before = files.read()
        todo = [document for document in documents if not before.is_done(document.id)]
        earlier = {name: f for name, f in before.failures.items() if f.kept is not None}
        usage = Usage()
        with Progress(len(todo), is_silent=rank > 0) as progress:
            if todo:
                usage = augmenter.run(todo, Deliveries(todo, files.append, progress, earlier))
        if rank == 0:
            files.tidy_failures()
        after = files.read()
    return _summarize(documents, todo, before, after, changed, usage, time.monotonic() - start)


def _summarize(
    documents: Sequence[Document],
    todo: Sequence[Document],
    before: State,
    after: State,
    changed: Set[str],
    usage: Usage,
    seconds: float,
) -> Summary:
    done = [document.id for document in documents if after.is_done(document.id)]
    usable = [name for name in done if after.is_usable(name)]
    return Summary(
        num_documents=len(documents),
        num_augmented=len(usable),
        num_todo=len(todo),
        num_before=sum(map(before.is_usable, usable)),
        num_anew=len(changed & {*usable}),
        num_in_part=sum(name in after.failures for name in usable),
        num_failed=len(done) - len(usable),
        usage=usage,
        seconds=seconds,
    )
