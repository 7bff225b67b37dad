"""Adapters: the bank that trains and applies them, their merge rules, formats and store."""
