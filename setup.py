"""The long description of the package: the README without what leads to files of the repository.

A package index shows it where those files are not, and the project has no address to point to.
"""

import re
from pathlib import Path

from setuptools import setup

_RELATIVE = r"\((?![a-z]+:|#)[^)\s]+\)"


def long_description() -> str:
    """Return the README with its own pictures left out, and the words of its links to files."""
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    without_pictures = re.sub(rf"^!\[[^]]*\]{_RELATIVE}\n\n?", "", readme, flags=re.MULTILINE)
    return re.sub(rf"\[([^]]*)\]{_RELATIVE}", r"\1", without_pictures)


if __name__ == "__main__":
    setup(long_description=long_description(), long_description_content_type="text/markdown")
