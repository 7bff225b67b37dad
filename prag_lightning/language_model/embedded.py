"""The embedded base model: the word for it, and its files."""

from pathlib import Path

# The word that stands for the embedded world, and for its base model, where a path is expected.
DEMO = "demo"
BASE_DIR = Path(__file__).parents[1] / "demo" / "base"
