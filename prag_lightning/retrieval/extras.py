"""Libraries that only some retrievers need, and that come with an extra of the package."""

from importlib.util import find_spec


def require_libraries(extra: str, *names: str) -> None:
    """Check that libraries are installed.

    Args:
        extra: The extra of the package that installs them.
        names: What they are imported as.

    Raises:
        ValueError: If some are not; says how to install them.
    """
    missing = [name for name in names if not find_spec(name)]
    if missing:
        raise ValueError(
            f"this kind of retrieval needs {' and '.join(missing)}; "
            f"install with: pip install 'prag-lightning[{extra}]'"
        )
