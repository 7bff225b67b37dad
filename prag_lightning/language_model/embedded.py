"""The name and the files of the embedded base model."""

from pathlib import Path

# Name of the embedded data set and its base model, accepted in place of a path.
DEMO = "demo"
BASE_DIR = Path(__file__).parents[1] / "demo" / "base"
