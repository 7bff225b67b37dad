"""Documents and questions: their records and files, and what reads other people's data."""
