"""Finished adapters on disk, keyed by document id."""
