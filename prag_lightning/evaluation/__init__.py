"""Evaluation of answers: scores, their files, and the report."""
