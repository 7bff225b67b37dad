"""Merges on disk, for a server that loads adapters from folders."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from prag_lightning.documents.writing import whole_folder

# A merge, or one that was being written when a server was killed.
_OURS = re.compile(r"[0-9a-f]{64}|\.[0-9a-f]{64}\.tmp")


class MergeFolders:
    """Folders of merges that together take limited room.

    What one server was given stays until that server ends, because it may load a folder again at
    any time: vLLM's engine would stop where one is gone. Folders of earlier servers make room, the
    oldest first.

    Args:
        root: Folder of the folders; one server at a time uses it.
        max_bytes: Room for all of them.

    Raises:
        ValueError: If another server uses the folder.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._max_bytes = max_bytes
        self._given: set[Path] = set()
        # Held by the process: requests are resolved in several threads.
        self._lock = FileLock(root / ".lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"{root}: another server keeps its merges here; set PRAG_VLLM_CACHE to a folder of "
                "its own"
            ) from error

    def put(self, files: Mapping[str, bytes]) -> Path:
        """Return a folder with these files, named by their digest.

        Args:
            files: Contents by name.

        Raises:
            OSError: If it cannot be written, as on a full disk.
            ValueError: If there is no room for it.
        """
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(hashlib.sha256(name.encode()).digest())
            digest.update(hashlib.sha256(files[name]).digest())
        folder = self._root / digest.hexdigest()
        if folder not in self._given:
            if not folder.exists():
                self._make_room(sum(map(len, files.values())))
                with whole_folder(folder) as draft:
                    draft.mkdir()
                    for name, content in files.items():
                        (draft / name).write_bytes(content)
            folder.touch()
            self._given.add(folder)
        return folder

    def _make_room(self, num_bytes: int) -> None:
        sizes = {
            folder: sum(file.stat().st_size for file in folder.iterdir())
            for folder in self._root.iterdir()
            # Nothing else in the folder is ours to remove.
            if _OURS.fullmatch(folder.name)
        }
        taken = sum(sizes.values()) + num_bytes
        old = [folder for folder in sizes if folder not in self._given]
        for folder in sorted(old, key=lambda folder: folder.stat().st_mtime):
            if taken <= self._max_bytes:
                break
            shutil.rmtree(folder)
            taken -= sizes[folder]
        if taken > self._max_bytes:
            raise ValueError(
                f"the {len(self._given):,} merges of this server leave no room for another "
                f"({num_bytes / 1e6:,.0f} MB) within the {self._max_bytes / 1e9:g} GB for them in "
                f"{self._root}; set PRAG_VLLM_CACHE_GB higher, or start the server again"
            )
