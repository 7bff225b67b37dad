"""Augments documents with any augmenter, going on where an earlier run stopped."""

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
    """What there is after a run, and what the run took.

    Args:
        num_documents: How many there are.
        num_augmented: How many of them have an augmentation that can be trained on.
        num_todo: How many were to be augmented in the run.
        num_before: How many of the augmented ones were so before.
        num_anew: How many were made anew, for their text has changed.
        num_in_part: How many lack some of the pairs and rewrites that were wanted.
        num_failed: How many have failed, in this run or before it.
        usage: What was asked of a language model in the run.
        seconds: How long it took.
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
        """Documents that are neither augmented nor failed: a process of the run has died."""
        return self.num_documents - self.num_augmented - self.num_failed

    def __str__(self) -> str:
        """Return it in two lines, in one if no language model was asked."""
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
    """Augment those documents that have neither an augmentation in ``output`` nor failed there.

    What was made of a text that has changed since is made anew.

    Args:
        documents: Each with an id of its own.
        augmenter: What makes the augmentations.
        output: File to which they are appended one by one; the failures go beside it.
        rank: This process's number, where several run at once.

    Raises:
        ValueError: If ``output`` holds augmentations that were made with other settings.
        ConnectionError: If the augmenter's server is gone; what is done is kept.
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
