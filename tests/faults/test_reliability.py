"""The table of faults: whole, and held by tests that there are."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_fault_has_a_row_with_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*`test_\w+` \|$", TABLE, re.MULTILINE)
    assert sorted(map(int, rows)) == list(range(1, 68))


def test_every_test_that_the_table_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert len(named) > 50
    files = TESTS.rglob("test_*.py")
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named <= there, named - there
