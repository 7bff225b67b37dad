"""What other libraries print on the terminal."""

import logging
import os
import warnings

import transformers


def quiet() -> None:
    """Silence what other libraries say about themselves, and nothing about the run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Lightning 2.6 calls what it has deprecated.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Says in every layer and step that 8-bit layers read float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.")
    # The matrices of a bank are views; their gradients, too.
    warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
    # Nothing is left to encode: the run says so itself.
    warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")
    # The base is frozen, without dropout, on purpose.
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
