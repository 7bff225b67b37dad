"""A LoRA resolver for vLLM that merges a run's adapters when a request names them.

vLLM's plugins are configured by environment variables:

- ``PRAG_VLLM_RUN``: root folder of the run; without it the plugin does nothing.
- ``PRAG_VLLM_BASE``: name of the model that vLLM serves, if the run calls it otherwise.
- ``PRAG_VLLM_CACHE``: folder for merges; by default in the user's cache.
- ``PRAG_VLLM_CACHE_GB``: room for merges, 10 GB by default.

See docs/serving_elsewhere.md.
"""

import asyncio
import logging
import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prag_lightning.exporting.merge_folders import MergeFolders
    from prag_lightning.exporting.run_merges import RunMerges

logger = logging.getLogger(__name__)

# The largest --max-lora-rank of vLLM.
_MAX_RANK = 512


def register() -> None:
    """Register the resolver with vLLM, which calls this in each of its processes.

    Raises:
        FileNotFoundError: If nothing was run in the folder.
        ValueError: If a setting is wrong.
    """
    run_dir = os.environ.get("PRAG_VLLM_RUN")
    if not run_dir:
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    resolver = MergingResolver(
        Path(run_dir), os.environ.get("PRAG_VLLM_BASE"), _cache_dir(), _cache_bytes()
    )
    LoRAResolverRegistry.register_resolver("prag-lightning", resolver)


class MergingResolver:
    """Resolves the names of merges, with the interface of ``vllm.lora.resolver.LoRAResolver``.

    Args:
        run_dir: Root folder of the run.
        base: Name of the model that vLLM serves; None for the one of the run.
        cache_dir: Folder for merges.
        cache_bytes: Room for merges.

    Raises:
        FileNotFoundError: If nothing was run in the folder.
    """

    def __init__(self, run_dir: Path, base: str | None, cache_dir: Path, cache_bytes: int) -> None:
        from prag_lightning.answering.from_run import settings_file

        settings_file(run_dir)
        self._run_dir = run_dir
        self._base = base
        self._cache_dir = cache_dir
        self._cache_bytes = cache_bytes
        # Opened at the first request: only one of vLLM's processes gets any.
        self._opened: tuple[RunMerges, MergeFolders] | None = None
        self._lock = threading.Lock()

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """Return a ``LoRARequest`` for a merge, or None if the name is not that of one.

        Args:
            base_model_name: Name of the model that vLLM serves.
            lora_name: Name of the merge, as in `parse_merge_name`.

        Raises:
            OSError: If a disk or a search server fails.
        """
        from vllm.lora.request import LoRARequest

        try:
            folder = await asyncio.to_thread(self._folder, base_model_name, lora_name)
        except ValueError as error:
            # vLLM says that there is no such model, and asks other resolvers.
            logger.warning("no merge for the name %.80r: %s", lora_name, error)
            return None
        # vLLM puts a number of its own in place of this one.
        number = 1 + int(folder.name[:8], 16)
        return LoRARequest(lora_name=lora_name, lora_int_id=number, lora_path=str(folder))

    def _folder(self, base_model_name: str, lora_name: str) -> Path:
        """Return the folder of a merge, after writing it if needed."""
        from prag_lightning.adapters.peft_format import (
            CONFIG_FILE,
            WEIGHTS_FILE,
            adapter_bytes,
            config_json,
        )
        from prag_lightning.exporting.merge_name import parse_merge_name

        name = parse_merge_name(lora_name)
        with self._lock:
            merges, folders = self._open()
            self._check_base(base_model_name, merges.store.recipe.base_model)
            merged = merges.merge(name, _MAX_RANK)
            files = {
                WEIGHTS_FILE: adapter_bytes(merged.row, merged.layout),
                CONFIG_FILE: config_json(merged.lora, base_model_name),
            }
            return folders.put(files)

    def _open(self) -> "tuple[RunMerges, MergeFolders]":
        from prag_lightning.exporting.merge_folders import MergeFolders
        from prag_lightning.exporting.run_merges import RunMerges

        if self._opened is None:
            folders = MergeFolders(self._cache_dir, self._cache_bytes)
            self._opened = RunMerges(self._run_dir), folders
        return self._opened

    def _check_base(self, served: str, recorded: str) -> None:
        """Refuse a server of another model than that of the adapters, as far as names tell."""
        from prag_lightning.language_model.pretrained import public_name

        expected = self._base or recorded
        if served not in (expected, public_name(expected)):
            raise ValueError(
                f"vLLM serves '{served}', but the adapters of {self._run_dir} are for "
                f"'{expected}'; if that is the same model, set PRAG_VLLM_BASE='{served}'"
            )


def _cache_dir() -> Path:
    from platformdirs import user_cache_path

    given = os.environ.get("PRAG_VLLM_CACHE")
    # vLLM takes a relative path that is not there for a name on the hub.
    return Path(given).resolve() if given else user_cache_path("prag-lightning") / "merges"


def _cache_bytes() -> int:
    text = os.environ.get("PRAG_VLLM_CACHE_GB", "10")
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise ValueError(f"PRAG_VLLM_CACHE_GB is '{text}', but must be a number above 0")
    return int(size * 1e9)
