"""One experiment with every combination of some settings: ``prag sweep``."""
