"""The example of docs/extending/scoring.md, as it stands there."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from prag_lightning.answering.scoring import make_scoring

PAGE = (Path(__file__).parents[2] / "docs/extending/scoring.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the page's block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_example_has_at_most_15_lines_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_scoring.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    scoring = make_scoring(yaml.safe_load(block("yaml"))["evaluation"]["scoring"])
    assert scoring.extract(" I think it is Paris. ") == "I think it is Paris."
    assert scoring.score("I think it is Paris.", ["paris", "Rome"]) == (1.0, 1.0, 0.0, 1.0)
    assert scoring.score("I think it is Oslo.", ["paris"]).em == 0.0
    del sys.modules["my_scoring"]


@pytest.mark.parametrize("place", [1, 2])
def test_the_table_says_what_the_two_scorings_make_of_its_texts(place: int) -> None:
    scoring = make_scoring(["strict", "published"][place - 1])
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == 4
    for row in rows:
        texts, expected = (re.findall(r"`([^`]*)`", row[n]) for n in (0, place))
        found = [scoring.extract(text) for text in texts]
        assert found == (texts if row[place] == "whole" else expected)
