"""Documents that a run encodes late, when a question finds them or somebody adds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prag_lightning.augmentation.by_name import make_augmenter
from prag_lightning.augmentation.deliveries import collect_outcomes
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.documents.adding import AUGMENTATIONS
from prag_lightning.documents.digests import augmentation_is_current
from prag_lightning.documents.folder import DOCUMENTS
from prag_lightning.documents.records import Augmentation, Document, read_records, write_records

# Documents that are encoded at once while a user waits.
_NUM_SLOTS = 8


class LateDocuments(NamedTuple):
    """Documents in a folder, ready to be encoded.

    Args:
        documents: Those that can be encoded.
        augmentations: Their augmentations.
        failures: Why others cannot be augmented.
    """

    documents: list[Document]
    augmentations: list[Augmentation]
    failures: list[Failure]

    def write(self, folder: Path) -> None:
        """Write documents and augmentations to a folder, for `prag fit`."""
        write_records(folder / DOCUMENTS, self.documents)
        write_records(folder / AUGMENTATIONS, self.augmentations)


def augment_late(
    documents: Sequence[Document],
    known: Path,
    augmenter: str | Mapping[str, Any] | None = None,
) -> LateDocuments:
    """Return documents with augmentations: those that a file has for their text, or new ones.

    Args:
        documents: The documents, with distinct ids.
        known: File of augmentations, which need not exist.
        augmenter: Makes the new ones; None for templates.
    """
    wanted = {document.id: document for document in documents}
    records = read_records(known, Augmentation) if known.is_file() else ()
    found = {
        record.document_id: record
        for record in records
        if record.document_id in wanted
        and augmentation_is_current(wanted[record.document_id], record)
    }
    missing = [document for document in documents if document.id not in found]
    outcomes = collect_outcomes(missing, make_augmenter(augmenter or "template")) if missing else []
    found |= {one.document_id: one.augmentation for one in outcomes if one.augmentation}
    return LateDocuments(
        [document for document in documents if document.id in found],
        [found[document.id] for document in documents if document.id in found],
        [one.failure for one in outcomes if one.augmentation is None and one.failure],
    )


def fit_words(run_dir: Path, folder: Path, store: str, num_documents: int) -> list[str]:
    """Return the words of a ``prag fit`` that encodes a folder's documents into a run's store.

    Args:
        run_dir: Root folder of the run, whose settings are used.
        folder: Folder of the documents and their augmentations; what the fit logs goes there, too.
        store: Folder or fsspec URL of the run's adapters.
        num_documents: How many documents there are.
    """
    options = {
        "--config": str(run_dir / "fit.yaml"),
        "--data.folder": str(folder),
        # The run may have named other files.
        "--data.augmentations": str(folder / AUGMENTATIONS),
        "--data.validation_questions": "null",
        "--model.store": store,
        "--model.num_slots": str(min(num_documents, _NUM_SLOTS)),
        # Keeps the run's own settings file unchanged.
        "--trainer.default_root_dir": str(folder),
    }
    return ["fit", *(word for pair in options.items() for word in pair)]
