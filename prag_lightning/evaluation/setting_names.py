"""Names of settings, as short as they can be told apart."""

from collections.abc import Sequence


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole of it where others end in the same.

    >>> list(short_keys(["model.lora.rank", "model.dtype", "adapter_writer.dtype"]).values())
    ['rank', 'model.dtype', 'adapter_writer.dtype']
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {key: key if last.count(end) > 1 else end for key, end in zip(keys, last, strict=True)}
