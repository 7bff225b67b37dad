"""Where the augmentations of documents come from: files, objects, or an augmenter."""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.documents.digests import (
    JoinedAugmentations,
    augmentation_is_current,
    by_document,
)
from prag_lightning.documents.records import Augmentation, Document, say_repeated
from prag_lightning.documents.stored import StoredRecords


class AugmentationSource:
    """The augmentations of documents; those in files stay there until they are asked for.

    Args:
        augmentations: A file, or several, or the augmentations; None for ``augmentations.jsonl`` in
            the documents' folder.
        augmenter: Augments documents that have no current augmentation; None to leave them.
        folder: Returns the documents' folder.
    """

    def __init__(
        self,
        augmentations: str | Path | Iterable[Augmentation | str | Path] | None,
        augmenter: Augmenter | str | Mapping[str, Any] | None,
        folder: Callable[[], Path],
    ) -> None:
        self._given = augmentations
        self._augmenter = augmenter
        self._folder = folder

    def read(
        self, documents: Mapping[str, Document], wanted: Callable[[str], bool] | None = None
    ) -> Mapping[str, Augmentation]:
        """Return augmentations by document id.

        Args:
            documents: The documents to augment if they have no current augmentation.
            wanted: Whose augmentations are read; by default all.
        """
        found = JoinedAugmentations(list(self._sources(wanted)))
        if self._augmenter is None:
            return found
        from prag_lightning.augmentation.in_memory import augment_all

        missing = [
            document
            for document_id, document in documents.items()
            if document_id not in found or not augmentation_is_current(document, found[document_id])
        ]
        made = by_document(augment_all(missing, self._augmenter))
        return ChainMap(made, cast("dict[str, Augmentation]", found))

    def _sources(
        self, wanted: Callable[[str], bool] | None
    ) -> Iterator[Mapping[str, Augmentation]]:
        """Yield the augmentations of each file, or of the given iterable."""
        if self._given is None:
            file = self._folder() / "augmentations.jsonl"
            if self._augmenter is None or file.exists():
                yield _opened(file, wanted)
            return
        several = [self._given] if isinstance(self._given, str | Path) else list(self._given)
        files = [source for source in several if isinstance(source, str | Path)]
        yield from (_opened(file, wanted) for file in files)
        yield by_document(source for source in several if isinstance(source, Augmentation))


def _opened(file: str | Path, wanted: Callable[[str], bool] | None) -> StoredRecords[Augmentation]:
    """Open a file of augmentations, of those documents that are wanted."""
    augmentations = StoredRecords(file, Augmentation, wanted)
    say_repeated(file, augmentations.num_repeated)
    return augmentations
