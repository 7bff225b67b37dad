"""A small world of invented people."""
