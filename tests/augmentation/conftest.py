"""Documents to augment, and a server that does it."""

from tests.augmentation.fixtures import documents, server

__all__ = ["documents", "server"]
