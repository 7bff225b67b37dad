"""A small world of invented people, and a base model trained for it."""
