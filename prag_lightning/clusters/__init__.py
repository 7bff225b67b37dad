"""Encoding with the processes of a cluster."""
