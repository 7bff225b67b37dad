"""Answering: questions, prompts, merged adapters and generation."""
