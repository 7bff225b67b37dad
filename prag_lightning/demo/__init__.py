"""A small world of invented people, and a base model trained for it."""

from pathlib import Path

# The word that stands for the embedded world, and for its base model, where a path is expected.
DEMO = "demo"
BASE_DIR = Path(__file__).parent / "base"
