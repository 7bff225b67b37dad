"""The report of one or more runs: what they leave in their folders, as a page and as tables."""
