"""Finding the documents that a question needs."""
