"""Imports without garbage collection."""

import gc
import subprocess
import sys

from prag_lightning.cli.uncollected import uncollected

SCRIPT = """
import gc
from prag_lightning.cli.uncollected import uncollected
with uncollected():
    during = gc.isenabled()
print(during, gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_what_a_command_imports_is_never_looked_through() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_a_program_that_has_the_libraries_already_keeps_its_garbage_collection() -> None:
    import torch  # noqa: F401

    before = gc.get_freeze_count()
    with uncollected():
        assert gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == before
