"""Parametric retrieval-augmented generation on Lightning: documents as LoRA adapters."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prag_lightning.answerer import Answerer as Answerer

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `Answerer`; it is imported when it is asked for, for torch takes seconds."""
    if name != "Answerer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from prag_lightning.answerer import Answerer

    return Answerer
