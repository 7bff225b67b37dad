"""Retrieving the documents that are relevant for a question."""
