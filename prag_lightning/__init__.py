"""Parametric retrieval-augmented generation on Lightning: documents as LoRA adapters."""

__version__ = "0.1.0"
