import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "extending"


def test_a_template_of_one_s_own_is_made_as_the_documentation_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (DOCS / "template.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 15
    names: dict[str, object] = {}
    exec(code, names)
    said = "Antwort: Ada wurde in Rom geboren. Also ist die Antwort Rom."
    assert capsys.readouterr().out == said + "\n"
    assert vars(names["data"])["encoder"].template is names["german"]
