"""Checks, before the first step, that a Trainer can encode documents."""

from lightning import Trainer

from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.encoding.per_document import refuse_averaging

# Lightning's value for max_epochs when it was not set.
_DEFAULT_MAX_EPOCHS = 1000


def check_trainer(trainer: Trainer) -> None:
    """Check that a Trainer makes one adapter of each document.

    Raises:
        ValueError: If its strategy averages gradients, if it would train documents more than once,
            or if its optimizer knows nothing of slots.
    """
    refuse_averaging(trainer.strategy)
    if trainer.max_epochs not in (1, _DEFAULT_MAX_EPOCHS):
        raise ValueError(
            f"max_epochs is {trainer.max_epochs}, but one epoch encodes every document to its end; "
            "set data.passes to go through each document's prompts more often"
        )
    optimizer = trainer.optimizers[0] if trainer.optimizers else None
    if not isinstance(optimizer, StackedAdamW):
        raise ValueError(
            f"the optimizer is {type(optimizer).__name__}, which knows nothing of slots that begin "
            "anew; let configure_optimizers return a StackedAdamW or a subclass of it"
        )
