"""Our encoder, run as ``prag fit`` runs it."""

import logging
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from transformers import PreTrainedModel

from benchmarks.measure import now
from prag_lightning.callbacks import AdapterWriter, EncodingLog, WarmStart
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.module import ParametricRAG

# Keeps Lightning's messages out of the results.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Clock(Callback):
    """Measures the time from before the first step until the last adapter is on the disk."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self.start = now(pl_module.device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop; the writer has finished by now."""
        self.seconds = now(pl_module.device) - self.start


class ResidentRAG(ParametricRAG):
    """Stays on its device; the Trainer would move it to the CPU after every fit."""

    def cpu(self) -> "ResidentRAG":
        """Do nothing."""
        return self


class BankEncoder:
    """The module with its bank over a loaded model.

    Args:
        base: The model.
        tokenizer_dir: Folder of its tokenizer.
        compile: Compile the decoder.
    """

    def __init__(self, base: PreTrainedModel, tokenizer_dir: Path, compile: bool = False) -> None:
        self.tokenizer_dir = tokenizer_dir
        self.device = base.device
        # On a GPU, padded rows are faster than a loop over segments, and a compiler needs the same
        # operations at every step.
        self.packed = self.device.type == "cpu" and not compile
        tokenizer = load_tokenizer(str(tokenizer_dir))
        self.module = ResidentRAG(base, tokenizer=tokenizer, compile=compile)
        self.module.configure_model()

    def encode(self, num_slots: int, documents_dir: Path) -> float:
        """Encode the documents of a folder, and return the seconds."""
        self.module.num_slots = num_slots
        self.module.bank.resize(num_slots)
        clock = Clock()
        with tempfile.TemporaryDirectory() as root:
            data = DocumentDataModule(
                str(documents_dir),
                base=str(self.tokenizer_dir),
                packed=self.packed,
                num_slots=num_slots,
            )
            trainer = Trainer(
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                max_epochs=1,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                default_root_dir=root,
                callbacks=[WarmStart(), AdapterWriter(), EncodingLog(), clock],
            )
            with redirect_stdout(None):
                trainer.fit(self.module, data)
        return clock.seconds
