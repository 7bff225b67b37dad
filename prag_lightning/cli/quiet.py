"""Silences needless output of other libraries."""

import logging
import os
import warnings

import transformers


def quiet() -> None:
    """Silence messages of other libraries that do not concern the run."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Lightning 2.6 calls deprecated functions.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Warns in every layer and step that 8-bit layers compute in float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.")
    # The matrices of a bank and their gradients are views.
    warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
    # On a cluster's login node and in a batch script, a run without srun is one process by intent.
    warnings.filterwarnings("ignore", "The `srun` command is available on your system")
    # The run itself reports that nothing is left to encode.
    warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")
    # The base is frozen and without dropout on purpose.
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
