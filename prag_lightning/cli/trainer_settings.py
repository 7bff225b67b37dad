"""Settings of Lightning's Trainer that encoding does not support, and their replacements.

They are rejected before anything is loaded.
"""

from collections.abc import Iterator, Mapping
from typing import Any

# Lightning's callbacks that control the training of a single model.
_CALLBACKS = {
    "BatchSizeFinder": "--model.num_slots auto finds how many documents train at once",
    "LearningRateFinder": "`prag sweep --over model.lr=3e-4,1e-3` compares learning rates",
    "EarlyStopping": "every document is trained to its end; give fewer --data.passes",
    "GradientAccumulationScheduler": "--data.batch_size says how many prompts make one step",
}


def refuse_trainer_settings(command: str, settings: Any, own: Mapping[str, str]) -> None:
    """Check the Trainer's settings.

    Args:
        command: ``fit``, ``test`` or ``predict``.
        settings: The Trainer's settings, as given.
        own: Callbacks of every run, by name, and the keys of their settings.

    Raises:
        ValueError: If one of them is not supported.
    """
    for name in listed_callbacks(settings):
        if name in own:
            raise ValueError(
                f"{name} is listed in trainer.callbacks, but every run has one already; give its "
                f"settings under the key '{own[name]}'"
            )
        if name in _CALLBACKS:
            raise ValueError(f"{name} cannot be used: {_CALLBACKS[name]}")
    if command != "fit":
        return
    if settings.max_epochs not in (None, 1):
        raise ValueError(
            f"trainer.max_epochs is {settings.max_epochs}, but one epoch encodes every document to "
            "its end; set --data.passes to go through each document's prompts more often"
        )
    if settings.accumulate_grad_batches != 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches is {settings.accumulate_grad_batches}, but every "
            "document has steps of its own; --data.batch_size says how many prompts make one"
        )
    if settings.gradient_clip_val or settings.gradient_clip_algorithm:
        raise ValueError(
            "trainer.gradient_clip_val would clip the gradients of all documents together; give "
            "--model.max_grad_norm, which clips each document's"
        )


def listed_callbacks(settings: Any) -> Iterator[str]:
    """Yield the class names of the callbacks in ``trainer.callbacks``."""
    listed = settings.callbacks or []
    for spec in listed if isinstance(listed, list) else [listed]:
        yield spec.class_path.rpartition(".")[2]
