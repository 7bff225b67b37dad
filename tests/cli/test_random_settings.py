"""Random settings, of wrong types and null among them: one line and a status, and no traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prag_lightning.cli.main import main
from prag_lightning.cli.trainer import PragCLI
from prag_lightning.demo.world import write_world

# Any setting may get any of these.
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 0.5, -0.1, float("inf"), float("nan"), 10**30),
    *("", " ", "x", "ü\n", "null", "auto", "[", "{", "1e-3", "a,b", "../x", "cpu", "\x1b[31m"),
    *([], [None], [1, "x"], ["down_proj"], {}, {"a": None}, {"class_path": "x.Y"}),
    *({"class_path": "os.system", "init_args": {"command": "false"}}, {"score": {"x": 1}}),
]
OURS = [
    *(f"data.{name}" for name in ("augmentations", "augmenter", "questions", "template")),
    *(f"data.{name}" for name in ("validation_questions", "exemplars", "few_shot_in_training")),
    *(f"data.{name}" for name in ("max_tokens", "passes", "batch_size", "loss_on", "packed")),
    *(f"data.{name}" for name in ("num_rewrites", "num_qas", "warm_up", "methods", "retriever")),
    *(f"data.{name}" for name in ("top_k", "limit", "question_batch_size", "nonsense")),
    *("model.lora", "model.lora.rank", "model.lora.alpha", "model.lora.target_modules"),
    *(f"model.{name}" for name in ("num_slots", "lr", "weight_decay", "max_grad_norm", "dtype")),
    *(f"model.{name}" for name in ("quantization", "max_new_tokens", "decoding", "store")),
    *("warm_start", "warm_start.path", "warm_start.seed", "adapter_writer.layout"),
    *("adapter_writer.dtype", "adapter_writer.check_free_space", "adapter_writer"),
    *("evaluation", "evaluation.merge", "evaluation.scoring", "evaluation.on_missing"),
    *("data", "model", "seed_everything", "model.trust_remote_code", "nonsense"),
]
TRAINERS = [
    *("trainer", "trainer.precision", "trainer.max_epochs", "trainer.max_steps"),
    *("trainer.limit_train_batches", "trainer.log_every_n_steps", "trainer.callbacks"),
    *("trainer.logger", "trainer.gradient_clip_val", "trainer.accumulate_grad_batches"),
    *("trainer.deterministic", "trainer.plugins", "trainer.fast_dev_run", "trainer.max_time"),
    *("trainer.enable_progress_bar", "trainer.profiler", "trainer.val_check_interval"),
]
# What changes how many processes run, or where, or for how long; refused or not, it is parsed only.
PARSED = [
    *("trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.accelerator"),
    *("data.folder", "model.base", "data.num_workers", "trainer.default_root_dir"),
    *("model.compile", "trainer.min_steps"),
]
STATUSES = {0, 2, 3, 75}


def chosen(keys: list[str], most: int) -> st.SearchStrategy[dict[str, Any]]:
    value = st.sampled_from(VALUES)
    return st.dictionaries(st.sampled_from(keys), value, min_size=1, max_size=most)


def words(changes: dict[str, Any], in_file: bool) -> list[str]:
    """Return settings as a command line gives them, or as a file does."""
    if in_file:
        tree: dict[str, Any] = {}
        for key, value in sorted(changes.items()):
            *parents, last = key.split(".")
            branch = tree
            for parent in parents:
                if not isinstance(branch.get(parent), dict):
                    branch[parent] = {}
                branch = branch[parent]
            branch[last] = value
        return ["--config", yaml.safe_dump({"seed_everything": 1, **tree})]
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in changes.items()
    ]


def run(command: list[str], capfd: pytest.CaptureFixture[str]) -> int:
    try:
        status = main(command)
    except SystemExit as stop:
        status = int(stop.code or 0)
    error = capfd.readouterr().err
    assert status in STATUSES, (command, error)
    assert "Traceback" not in error
    if status == 2:
        (line,) = [line for line in error.splitlines() if line.startswith("prag")]
        assert len(line) > 10
    return status


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=chosen([*OURS, *TRAINERS, *PARSED], 4), in_file=st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_no_settings_are_a_traceback_when_they_are_read(
    changes: dict[str, Any],
    in_file: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    def stop(self: PragCLI) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(PragCLI, "instantiate_classes", stop)
    run(["fit", *words(changes, in_file)], capfd)


def run_whole(
    changes: dict[str, Any],
    in_file: bool,
    command: str,
    base_dir: Path,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not (folder / "world").exists():
        write_world(folder / "world", num_people=2)
    known = [
        *("--model.base", str(base_dir), "--data.folder", str(folder / "world")),
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(folder / "run")),
        *("--model.max_new_tokens", "2", "--model.num_slots", "2"),
    ]
    run([command, *known, *words(changes, in_file)], capfd)


whole = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
runs = given(
    # Few, for a wrong one hides what others would have done.
    changes=chosen([*OURS, *TRAINERS], 2),
    in_file=st.booleans(),
    command=st.sampled_from(["fit", "fit", "test", "predict"]),
)


@whole
@runs
@pytest.mark.filterwarnings("ignore")
def test_no_settings_are_a_traceback_when_they_are_run(
    changes: dict[str, Any],
    in_file: bool,
    command: str,
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_whole(changes, in_file, command, base_dir, tmp_path, capfd)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(whole, max_examples=200)
@runs
@pytest.mark.filterwarnings("ignore")
def test_no_settings_of_many_are_a_traceback_when_they_are_run(
    changes: dict[str, Any],
    in_file: bool,
    command: str,
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_whole(changes, in_file, command, base_dir, tmp_path, capfd)
