"""Short names of settings that are still unique."""

from collections.abc import Sequence


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole key if others end in the same part.

    >>> list(short_keys(["model.lora.rank", "model.dtype", "adapter_writer.dtype"]).values())
    ['rank', 'model.dtype', 'adapter_writer.dtype']
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {key: key if last.count(end) > 1 else end for key, end in zip(keys, last, strict=True)}
