"""Settings of fit, test and predict that are refused, in one line, and their help."""

import json
import shutil
from pathlib import Path

import pytest
from jsonargparse import Namespace

from prag_lightning.answerer import Answerer
from prag_lightning.cli.main import main
from prag_lightning.cli.processes import settings_for_processes, started_processes
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.demo.world import write_world

CALLBACKS = "lightning.pytorch.callbacks"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=2)
    return folder


def options(base_dir: Path, world: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "2", "--data.folder", str(world)),
    ]


def only_line(capfd: pytest.CaptureFixture[str]) -> str:
    (line,) = capfd.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "section",
    ["adapter_writer", "evaluation", "warm_start", "model", "model.lora", "data", "trainer", "ray"],
)
@pytest.mark.parametrize("value", ["true", "3", "[]"])
def test_a_section_that_is_one_value_is_refused(
    section: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = value
    for part in reversed(section.split(".")):
        text = f"{{{part}: {text}}}"
    assert main(["fit", "--config", text]) == 2
    assert f"prag fit: {section} takes settings, a `name: value` each" in only_line(capfd)


@pytest.mark.parametrize(
    "setting",
    [
        *("warm_start.path", "warm_start.seed", "data.folder", "data.passes", "data.batch_size"),
        *("data.num_workers", "data.top_k", "data.question_batch_size", "data.max_tokens"),
        *("data.loss_on", "data.template", "data.few_shot_in_training"),
        *("model.base", "model.lr", "model.weight_decay", "model.num_slots"),
        *("model.lora.rank", "model.lora.alpha", "model.dtype", "model.decoding"),
        *("model.max_new_tokens", "evaluation.merge", "evaluation.scoring"),
        *("evaluation.on_missing", "adapter_writer.layout", "adapter_writer.dtype"),
        "adapter_writer.check_free_space",
    ],
)
def test_null_is_refused_in_a_file_where_it_is_refused_on_the_command_line(
    setting: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "null"
    for part in reversed(setting.split(".")):
        text = f"{{{part}: {text}}}"
    assert main(["fit", "--config", text]) == 2
    line = only_line(capfd)
    assert line.startswith("prag")
    assert setting in line
    assert line.endswith(("Got value: None", "got: None"))


def test_null_stays_the_word_for_what_may_be_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    nothing = "{model: {max_grad_norm: null, store: null}, data: {limit: null, methods: null}}"
    assert main(["fit", "--config", nothing, "--print_config"]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "section",
    ["model", "data", "trainer", "warm_start", "adapter_writer", "evaluation", "model.lora"],
)
def test_a_section_without_settings_is_as_if_it_were_not_there(
    section: str, base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parent, _, child = section.partition(".")
    text = f"{parent}:\n  {child}:\n" if child else f"{parent}:\n"
    # As far as to what is refused last.
    words = [*options(base_dir, world, tmp_path), "--trainer.max_epochs", "2"]
    (tmp_path / "config.yaml").write_text(f"seed_everything: 1\n{text}")
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), *words]) == 2
    assert "trainer.max_epochs is 2" in only_line(capfd)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--trainer.max_epochs 3", "trainer.max_epochs is 3, but one epoch encodes every document"),
        ("--trainer.max_epochs -1", "set --data.passes to go through each document's prompts more"),
        ("--trainer.accumulate_grad_batches 4", "--data.batch_size says how many prompts make one"),
        ("--trainer.gradient_clip_val 1.0", "give --model.max_grad_norm, which clips each"),
        (f"--trainer.callbacks {CALLBACKS}.BatchSizeFinder", "--model.num_slots auto finds how"),
        (f"--trainer.callbacks {CALLBACKS}.LearningRateFinder", "`prag sweep --over model.lr="),
        (
            f"--trainer.callbacks {CALLBACKS}.EarlyStopping --trainer.callbacks.monitor loss",
            "EarlyStopping cannot be used: every document is trained to its end",
        ),
        (
            f"--trainer.callbacks {CALLBACKS}.GradientAccumulationScheduler "
            '--trainer.callbacks.scheduling {"0":2}',
            "GradientAccumulationScheduler cannot be used: --data.batch_size says",
        ),
        ("--trainer.precision 7", "trainer.precision"),
        ("--trainer.strategy ddp --trainer.devices 2", "use --trainer.strategy per_document"),
        ("--data.methods prag,rga", "there is no method 'rga'"),
        ("--data.exemplars nowhere.json", "nowhere.json"),
        # A relative import, of which Python says that a 'package' is required.
        ("--adapter_writer.layout ../x", "there is no layout '../x'; there are packed, peft"),
        ("--evaluation.merge ../x", "there is no merge rule '../x'"),
        ("--data.template nowhere.yaml", "nowhere.yaml"),
        ("--model.base no-folder", "no-folder"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_to_give_instead(
    words: str,
    message: str,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["fit", *options(base_dir, world, tmp_path), *words.split()]) == 2
    assert message in only_line(capfd)
    # Nothing was begun.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "callback",
    [
        "Timer --trainer.callbacks.duration 00:01:00:00",
        'Timer --trainer.callbacks.duration {"hours":1}',
        "ModelSummary",
        "TQDMProgressBar",
    ],
)
def test_other_callbacks_of_lightning_s_work(
    callback: str, base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = f"--trainer.callbacks {CALLBACKS}.{callback}".split()
    assert main(["fit", *options(base_dir, world, tmp_path), *words]) == 0
    assert "2 of 2 documents are in" in capfd.readouterr().out
    assert (tmp_path / "fit.yaml").stat().st_size > 100


def test_methods_are_a_list_or_words_with_commas(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["test", *options(base_dir, world, tmp_path), "--model.max_new_tokens", "2"]
    for methods in ("closed_book,rag", '["closed_book", "rag"]'):
        assert main([*words, "--data.methods", methods]) == 0
        table = capfd.readouterr().out
        assert "closed_book" in table
        assert "rag" in table
        assert "rag_gold" not in table


SLURM = {"SLURM_JOB_ID": "5", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}
TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"},
    **{"LOCAL_RANK": "1", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
}


@pytest.mark.parametrize(
    ("environment", "words", "message"),
    [
        (SLURM, [], "this job has 2 tasks (SLURM_NTASKS), but only one process was started; write"),
        (
            {**SLURM, "SLURM_PROCID": "0"},
            [],
            "this job has 2 tasks (SLURM_NTASKS), but only one process was started; write",
        ),
        (
            {**SLURM, **STEP, "SLURM_STEP_NUM_TASKS": "1"},
            [],
            "this job has 2 tasks (SLURM_NTASKS), but only one process was started; write",
        ),
        (
            {**SLURM, **STEP, "SLURM_NTASKS": "3", "SLURM_NNODES": "2"},
            [],
            "3 processes on 2 nodes; start as many on each",
        ),
        (TORCHRUN, ["--trainer.devices", "1"], "but the Trainer counts 1 devices on 1; leave"),
        (TORCHRUN, ["--trainer.strategy", "ddp"], "use --trainer.strategy per_document"),
    ],
    ids=[
        *("slurm without srun", "batch script without srun", "shell that slurm started"),
        *("unequal nodes", "fewer devices", "ddp"),
    ],
)
def test_processes_that_do_not_fit_are_refused_by_every_one(
    environment: dict[str, str],
    words: list[str],
    message: str,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", *options(base_dir, world, tmp_path), *words]) == 2
    assert message in only_line(capfd)


def test_a_batch_script_without_srun_is_one_process_that_starts_its_others_itself(
    base_dir: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    assert started_processes() is None
    settings = Namespace(strategy="per_document", devices=2, num_nodes=1, plugins=None)
    (environment,) = settings_for_processes(settings)["plugins"]
    assert not environment.creates_processes_externally
    assert main(["fit", *options(base_dir, world, tmp_path)]) == 0
    # As a step of the job it is one of the processes that srun has started.
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert started_processes() == ("SLURM", 1, 1)
    (environment,) = settings_for_processes(settings)["plugins"]
    assert environment.creates_processes_externally


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_help_says_first_what_the_command_does_and_then_our_settings_by_use(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capfd.readouterr().out
    usage, _, first, *_ = text.splitlines()
    assert usage.startswith(f"usage: prag {command} [--config FILE]")
    assert first.startswith(("Encode documents", "Answer questions"))
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    sections = ["run", "documents", "questions", "encoding", "answering", "model", "store"]
    sections.append("Ray cluster")
    assert titles == [f"{title}:" for title in sections]
    assert "--model.lora.rank" in text
    assert "--data.passes" in text
    assert "--trainer.limit_train_batches" not in text
    assert " Of " not in text
    assert main([command, "--help-trainer"]) == 0
    text = capfd.readouterr().out
    assert "--trainer.limit_train_batches" in text
    assert "--data.passes" not in text


def test_no_setting_is_missing_from_help(capfd: pytest.CaptureFixture[str]) -> None:
    import yaml

    def leaves(settings: dict[str, object], start: str = "") -> list[str]:
        return [
            name
            for key, value in settings.items()
            for name in (
                leaves(value, f"{start}{key}.")
                if isinstance(value, dict) and value
                else [start + key]
            )
        ]

    assert main(["fit", "--print_config"]) == 0
    settings = leaves(yaml.safe_load(capfd.readouterr().out))
    assert len(settings) > 60
    main(["fit", "--help"])
    main(["fit", "--help-trainer"])
    text = capfd.readouterr().out
    assert [name for name in settings if f"--{name} " not in text] == []


def test_code_of_a_tokenizer_runs_for_the_data_module_as_for_the_model(
    base_dir: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    base = tmp_path / "base"
    shutil.copytree(base_dir, base)
    (base / "own.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n"
        "class OwnTokenizer(PreTrainedTokenizerFast):\n    is_own = True\n"
    )
    file = base / "tokenizer_config.json"
    settings = {**json.loads(file.read_text()), "tokenizer_class": "OwnTokenizer"}
    settings["auto_map"] = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    file.write_text(json.dumps(settings))
    words = ["fit", *options(base, world, tmp_path / "run")]
    assert main(words) == 2
    assert main([*words, "--model.trust_remote_code", "true"]) == 0
    data = DocumentDataModule(str(world), str(base), trust_remote_code=True)
    assert data.encoder.tokenizer.is_own
    assert Answerer.from_run(tmp_path / "run").data.encoder.tokenizer.is_own
