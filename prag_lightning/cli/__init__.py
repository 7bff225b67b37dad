"""The command ``prag``."""
