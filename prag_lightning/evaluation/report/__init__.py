"""The report of one or more runs, made from their folders: a page and tables."""
