"""Sweeps over a tiny world, most of them within this process."""

import contextlib
import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.cli.exit_status import DONE, SOME_FAILED, TERMINATED
from prag_lightning.cli.main import main
from prag_lightning.cli.sweep.command import run_sweep
from prag_lightning.cli.sweep.runs import run_process
from tests.cli.sweep.conftest import CommandsHere, options

RANK_AND_MERGE = ["--over", "rank=1,2", "--over", "merge=sum,mean"]
NAMES = ["rank=1,merge=sum", "rank=1,merge=mean", "rank=2,merge=sum", "rank=2,merge=mean"]


def rows(root: Path) -> list[dict[str, str]]:
    """The rows of a sweep's table, without what differs in every run."""
    with (root / "sweep" / "sweep.csv").open() as file:
        return [
            {name: value for name, value in row.items() if not name.endswith("_seconds")}
            for row in csv.DictReader(file)
        ]


def num_adapters(root: Path) -> list[int]:
    """How many adapters are in each store."""
    found = []
    for folder in (root / "sweep" / "adapters").iterdir():
        with open_store(folder, mode="read") as store:
            found.append(len(list(store.ids())))
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, world: Path) -> Path:
    """Root folder of a sweep of two by two."""
    root, commands = tmp_path_factory.mktemp("sweep"), CommandsHere()
    assert run_sweep([*RANK_AND_MERGE, *options(base_dir, world, root)], commands) == DONE
    # Adapters do not depend on the merge rule, so they are encoded once for both.
    expected = [[("fit", 0), ("test", 0)], [("test", 1)], [("fit", 2), ("test", 2)], [("test", 3)]]
    assert commands.done == [(NAMES[n], command) for row in expected for command, n in row]
    return root


def test_every_combination_is_a_row_and_runs_that_merge_otherwise_share_adapters(
    swept: Path,
) -> None:
    assert num_adapters(swept) == [4, 4]
    table = rows(swept)
    assert [(row["model.lora.rank"], row["evaluation.merge"]) for row in table] == [
        ("1", "sum"), ("1", "mean"), ("2", "sum"), ("2", "mean")
    ]  # fmt: skip
    assert {row["status"] for row in table} == {"done"}
    # What is merged differs in every run, one adapter alone only by its rank.
    assert len({row["prag.answer_nll"] for row in table}) == 4
    one, same, two, as_two = (row["own.one_hop.answer_nll"] for row in table)
    assert (one, two) == (same, as_two)
    assert one != two


def test_a_run_has_the_scores_of_the_same_settings_outside_a_sweep(
    swept: Path, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    words = [*options(base_dir, world, tmp_path), "--model.lora.rank=2", "--evaluation.merge=mean"]
    assert main(["fit", *words]) == main(["test", *words]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {score["type"] for score in scores} == {"all", "one_hop", "two_hop"}
    row = rows(swept)[3]
    for score in scores:
        group = score["method"] + ("" if score["type"] == "all" else f".{score['type']}")
        for name in ("em", "f1", "answer_nll"):
            assert float(row[f"{group}.{name}"]) == pytest.approx(score[name], abs=6e-5)


def test_what_is_done_is_not_run_again_unless_a_setting_changed(
    swept: Path, base_dir: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands, before = CommandsHere(), rows(swept)
    words = [*RANK_AND_MERGE, *options(base_dir, world, swept)]
    assert run_sweep(words, commands) == DONE
    assert commands.done == []
    assert rows(swept) == before
    out = capfd.readouterr().out
    assert "4 runs, 2 stores of adapters" in out
    for name in NAMES:
        assert f"{name}: done" in out
    # The adapters are still these; the answers are others.
    last = ["--over", "rank=2", "--over", "merge=mean", *options(base_dir, world, swept)]
    assert run_sweep([*last, "--data.top_k=1"], commands) == DONE
    assert commands.done == [(NAMES[3], "fit"), (NAMES[3], "test")]
    assert rows(swept)[0]["prag.answer_nll"] != before[3]["prag.answer_nll"]
    assert num_adapters(swept) == [4, 4]
    log = (swept / "sweep" / NAMES[3] / "log.txt").read_text()
    assert "4 documents, 4 of them encoded before" in log
    assert run_sweep(words, commands) == DONE
    assert len(commands.done) == 4
    assert rows(swept) == before


def sweep_here(words: list[str], log: Path) -> NoReturn:
    """Sweep in this process, whose output goes to a file, and end it."""
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.exit(run_sweep(words, CommandsHere()))


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on(
    swept: Path, base_dir: Path, world: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prag_lightning.cli.trainer", "prag_lightning.cli.sweep.plan"])
    words = [*RANK_AND_MERGE, *options(base_dir, world, tmp_path)]
    process = context.Process(target=sweep_here, args=(words, tmp_path / "log"))
    process.start()
    first = tmp_path / "sweep" / NAMES[0] / "result.json"
    while not first.exists() and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "log").read_text()
    commands = CommandsHere()
    assert run_sweep(words, commands) == DONE
    assert NAMES[0] not in {name for name, _ in commands.done}
    assert (NAMES[3], "test") in commands.done
    names = ("model.lora.rank", "evaluation.merge", "status", "own.em", "prag.em")
    for row, expected in zip(rows(tmp_path), rows(swept), strict=True):
        assert [row[name] for name in names] == [expected[name] for name in names]
        nll = float(expected["prag.answer_nll"])
        assert float(row["prag.answer_nll"]) == pytest.approx(nll, abs=2e-4)


@pytest.mark.slow
def test_a_run_that_fails_is_a_row_and_the_others_are_run(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.jsonl"
    over = ["--over", f"augmentations={missing},{world / 'augmentations.jsonl'}"]
    words = [*over, *options(base_dir, world, tmp_path)]
    assert run_sweep(words, CommandsHere()) == SOME_FAILED
    failed, done = rows(tmp_path)
    assert failed["status"].startswith("fit failed with status 2: prag: ")
    assert "missing.jsonl: no such file" in failed["status"]
    assert failed["own.em"] == ""
    assert done["status"] == "done"
    # The cause is gone, so the run is made.
    missing.write_bytes((world / "augmentations.jsonl").read_bytes())
    assert run_sweep(words, CommandsHere()) == DONE
    again, done = rows(tmp_path)
    assert again["prag.answer_nll"] == done["prag.answer_nll"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "rnk=1"], "did you mean 'rank'?"),
        (["--over", "model.store=a,b"], "a sweep chooses it itself for every run"),
        (["--over", "rank=1", "--model.store", "x"], "model.store is set, but"),
        (["--over", "rank=1", "--data.warm_up", "x"], "data.warm_up is set, but"),
        (["dmo", "--over", "rank=1"], "no config of that name; did you mean 'demo'?"),
        (["--over", "rank=1,x"], "model.lora.rank"),
        (
            ["--over", "rank=1", "--trainer.limit_test_batches", "2"],
            "give --data.limit to ask fewer",
        ),
        (["--over", "fast_dev_run=true,false"], "give --data.limit to ask fewer"),
        (["--over", "rank=0"], "the rank of an adapter is 0"),
        ([], "--over"),
    ],
)
def test_bad_input_is_refused_before_anything_is_run(
    words: list[str],
    message: str,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    try:
        status = main(["sweep", *words, *options(base_dir, world, tmp_path)])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_a_command_runs_in_a_process_of_its_own_that_speaks_into_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert run_process(["--version"], log) == 0
    assert run_process(["fti"], log) == 2
    said = log.read_text().splitlines()
    assert said[0].startswith("prag 0")
    assert "did you mean 'fit'?" in said[1]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom prag_lightning.cli.main import main\n"
        "try:\n    main(['sweep', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'transformers', 'pydantic', 'jsonargparse'} & set(sys.modules))"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert "--over KEY=VALUE,VALUE" in said
    assert said.endswith("set()\n")


def running(word: str) -> Iterator[int]:
    """Yield the processes whose command line holds a word."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word in file.read_text():
                yield int(file.parent.name)


@pytest.mark.slow
def test_a_sweep_that_is_told_to_end_takes_its_run_along(
    base_dir: Path, world: Path, tmp_path: Path
) -> None:
    words = ["sweep", *RANK_AND_MERGE, *options(base_dir, world, tmp_path)]
    sweep = subprocess.Popen([sys.executable, "-m", "prag_lightning", *words])
    while not (tmp_path / "sweep" / NAMES[0] / "log.txt").exists() and sweep.poll() is None:
        time.sleep(0.05)
    assert len(list(running(str(tmp_path)))) == 2
    sweep.terminate()
    assert sweep.wait(60) == TERMINATED
    assert list(running(str(tmp_path))) == []
    assert subprocess.run([sys.executable, "-m", "prag_lightning", *words]).returncode == DONE
    assert [row["status"] for row in rows(tmp_path)] == ["done"] * 4
