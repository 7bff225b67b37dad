"""Turning documents into rewrites and question-answer pairs."""
