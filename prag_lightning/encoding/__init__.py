"""Encoding documents into adapters: the plan, the schedule and the training steps."""
