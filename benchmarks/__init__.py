"""Benchmarks against the published procedure, both measured in the same run."""
