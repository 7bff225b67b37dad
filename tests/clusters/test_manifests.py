"""The files for Kubernetes, SLURM and torchrun say what `prag` and the schedulers understand."""

import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from prag_lightning.cli import exit_status
from prag_lightning.cli.quiet import quiet

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters"


@pytest.fixture
def job() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((CLUSTERS / "kubernetes.yaml").read_text())
    return manifest


def test_the_job_of_kubernetes_is_valid_and_an_unknown_field_is_not(job: dict[str, Any]) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed (extra test)"
    )
    version = validator.latest_version()
    validator.validate(job, version, strict=True)
    job["spec"]["backoffLimitsPerIndex"] = job["spec"].pop("backoffLimitPerIndex")
    with pytest.raises(validator.ValidationError, match="backoffLimitsPerIndex"):
        validator.validate(job, version, strict=True)


def test_kubernetes_gives_up_on_a_part_only_for_what_a_second_try_does_not_mend(
    job: dict[str, Any],
) -> None:
    statuses = {value for value in vars(exit_status).values() if isinstance(value, int)}
    fail: dict[str, Any] = {}
    ignore: dict[str, Any] = {}
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        (fail if rule["action"] == "FailIndex" else ignore).update(rule)
    hopeless = set(fail["onExitCodes"]["values"])
    assert hopeless == {exit_status.USAGE, exit_status.SOME_FAILED, exit_status.UNFORESEEN}
    assert {exit_status.TRY_AGAIN, exit_status.TERMINATED} <= statuses - hopeless
    assert ignore["onPodConditions"][0]["type"] == "DisruptionTarget"


def test_every_pod_gets_one_of_as_many_parts_as_there_are_pods(job: dict[str, Any]) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # The command with an `exec` that shows its words.
    script = container["command"][2].replace("exec prag", "printf '%s\\n'")
    words = ["sh", "-c", script, "prag", *container["args"]]
    shown = subprocess.run(
        words, env={"JOB_COMPLETION_INDEX": "3"}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown[:3] == ["fit", "--shard", f"3/{job['spec']['completions']}"]
    assert shown[3:] == container["args"]


@pytest.mark.parametrize("script", ["slurm.sh", "torchrun.sh"])
def test_the_scripts_are_shell_without_errors(script: str) -> None:
    subprocess.run(["bash", "-n", str(CLUSTERS / script)], check=True)


def test_the_statuses_that_slurm_s_script_queues_again_are_those_of_prag() -> None:
    text = (CLUSTERS / "slurm.sh").read_text()
    again = {int(number) for number in re.findall(r"\$status == (\d+)", text)}
    assert again == {exit_status.TERMINATED, exit_status.TRY_AGAIN}


def test_a_run_beside_slurm_s_programs_is_not_told_to_use_srun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="srun"):
            SLURMEnvironment.detect()
        quiet()
        SLURMEnvironment.detect()
