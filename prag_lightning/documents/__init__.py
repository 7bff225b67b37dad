"""Documents and questions: their records and files, and readers of external data sets."""
