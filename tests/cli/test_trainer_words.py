"""Words of fit, test and predict that are no settings are said at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prag_lightning.cli.main import main
from prag_lightning.cli.trainer_words import SECTIONS, refuse_unknown_words

NO_KEYS = {"config", "help", "help-trainer", "print_config"}
WRONG = {
    "fit --modle.lr 3": "fit has no setting --modle; did you mean 'model'?",
    "fit --lr 3": "fit has no setting --lr; they are in sections, as --model.lr",
    "test --folder=x": "test has no setting --folder; they are in sections",
    "predict --dataa.folder x": "predict has no setting --dataa; did you mean 'data'?",
    "fit demo": "fit takes settings, and 'demo' is none; for a file or a shipped experiment write",
    "sweep --over rank=2 --trainner.max_epochs 1": "has no setting --trainner; did you mean 'tra",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items(), ids=WRONG.keys())
def test_a_word_that_is_no_setting_is_said_before_anything_large_is_imported(
    line: str, message: str, tmp_path: Path
) -> None:
    program = (
        "import sys; from prag_lightning.cli.main import main;"
        f"status = main({line.split()!r});"
        "sys.exit(1 if {'torch', 'lightning', 'transformers'} & set(sys.modules) else status)"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    (only,) = done.stderr.splitlines()
    assert message in only


def test_every_section_is_known_and_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    found: set[str] = set()
    for command in ("fit", "test", "predict"):
        assert main([command, "--print_config"]) == 0
        found |= yaml.safe_load(capfd.readouterr().out).keys()
    assert found == set(SECTIONS) - NO_KEYS


def test_words_that_are_settings_pass() -> None:
    words = "--config demo -c x --model m.yaml --model.lora.rank=2 --trainer.callbacks+=X --help"
    refuse_unknown_words("fit", [*words.split(), "--print_config=skip_null", "--data.limit", "-1"])
    refuse_unknown_words("fit", [])
