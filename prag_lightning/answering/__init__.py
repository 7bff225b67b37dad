"""Answers: questions, prompts, merged adapters, and what the model says."""
