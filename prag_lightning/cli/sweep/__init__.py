"""The command ``prag sweep``: one experiment with every combination of some settings."""
