"""Files from strangers: models, checkpoints and settings that would run code."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from prag_lightning.cli.exit_status import USAGE
from prag_lightning.cli.main import main


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._mark,)


def status_of(words: list[str]) -> int:
    """Run a command in this process and return its exit status."""
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


def options(base_dir: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir)),
    ]


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_no_checkpoint_is_ever_opened(
    command: str, base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mark, checkpoint = tmp_path / "mark", tmp_path / "evil.ckpt"
    hyperparameters = {"_class_path": "antigravity.Model"}
    content = {"state_dict": {}, "hyper_parameters": hyperparameters, "bomb": Bomb(mark)}
    torch.save(content, checkpoint)
    words = [command, *options(base_dir, tmp_path / "run")]
    assert status_of([*words, "--ckpt_path", str(checkpoint)]) == USAGE
    assert "--ckpt_path" in capfd.readouterr().err
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"ckpt_path": str(checkpoint)}))
    assert status_of([*words, "--config", str(config)]) == USAGE
    assert "ckpt_path" in capfd.readouterr().err
    assert not mark.exists()
    torch.load(checkpoint, weights_only=False)
    assert mark.exists(), "the bomb is none"


@pytest.mark.parametrize("path", ["os.system", "subprocess.Popen", "prag_lightning.cli.main.main"])
def test_settings_name_callbacks_and_nothing_else_that_is_run(
    path: str, base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    callback = {"class_path": path, "init_args": {"command": f"touch {tmp_path}/mark"}}
    config.write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    words = ["fit", *options(base_dir, tmp_path / "run"), "--config", str(config)]
    assert status_of(words) == USAGE
    assert path in capfd.readouterr().err
    assert not (tmp_path / "mark").exists()


def test_a_yaml_file_makes_no_python_objects(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"model:\n  lr: !!python/object/apply:os.system ['touch {tmp_path}/mark']\n")
    words = ["fit", *options(base_dir, tmp_path / "run"), "--config", str(config)]
    assert status_of(words) == USAGE
    assert "python/object/apply:os.system" in capfd.readouterr().err
    assert not (tmp_path / "mark").exists()


def test_code_that_comes_with_a_base_model_is_not_run(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile = tmp_path / "hostile"
    shutil.copytree(base_dir, hostile)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'mark')!r}).touch()\n"
    (hostile / "evil.py").write_text(code + "class Config: pass\nclass Model: pass\n")
    settings = json.loads((hostile / "config.json").read_text())
    settings["model_type"] = "evil"
    settings["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (hostile / "config.json").write_text(json.dumps(settings))
    words = ["fit", *options(hostile, tmp_path / "run")]
    assert status_of(words) == USAGE
    assert "hostile" in capfd.readouterr().err
    assert not (tmp_path / "mark").exists()


def test_a_base_model_that_is_a_pickle_is_not_unpickled(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile, mark = tmp_path / "hostile", tmp_path / "mark"
    shutil.copytree(base_dir, hostile)
    (hostile / "model.safetensors").unlink()
    bomb = Bomb(mark)
    torch.save({"bomb": bomb}, hostile / "pytorch_model.bin")
    (tmp_path / "documents.jsonl").write_text('{"id": "a", "text": "b"}\n')
    augmentation = {
        "document_id": "a",
        "rewrites": [],
        "qas": [{"question": "q", "answer": "b", "full_answer": "b"}],
    }
    (tmp_path / "augmentations.jsonl").write_text(json.dumps(augmentation))
    words = ["fit", *options(hostile, tmp_path / "run"), "--data.folder", str(tmp_path)]
    assert status_of(words) == USAGE
    assert "hostile" in capfd.readouterr().err
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb))
    assert mark.exists(), "the bomb is none"
