"""Checking for libraries that only some retrievers need, installed by an extra of the package."""

from importlib.util import find_spec


def require_libraries(extra: str, *names: str) -> None:
    """Check that libraries are installed.

    Args:
        extra: The extra of the package that installs them.
        names: Names under which the libraries are imported.

    Raises:
        ValueError: If some are missing; the message says how to install them.
    """
    missing = [name for name in names if not find_spec(name)]
    if missing:
        raise ValueError(
            f"this kind of retrieval needs {' and '.join(missing)}; "
            f"install with: pip install 'prag-lightning[{extra}]'"
        )
