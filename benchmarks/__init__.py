"""Figures side by side with the published procedure, in one run."""
