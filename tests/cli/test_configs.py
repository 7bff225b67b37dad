"""The configs in the package: prag configs, their names for --config, and what is packaged."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prag_lightning.cli.configs import find_config, shipped_configs, with_config_files
from prag_lightning.cli.main import main

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
NAMES = {str(f.relative_to(CONFIGS).with_suffix("")) for f in CONFIGS.rglob("*.yaml")}


def test_every_config_is_listed_with_the_first_line_of_its_header(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines[: lines.index("")]}
    assert listed.keys() == NAMES
    assert "demo" in NAMES
    for name, line in listed.items():
        header = (CONFIGS / f"{name}.yaml").read_text().splitlines()[0]
        assert line.split(maxsplit=1)[1] == header.removeprefix("# ")


def test_one_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "published/datasets/popqa"]) == 0
    assert capsys.readouterr().out == (CONFIGS / "published/datasets/popqa.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["configs", "dmo"], "there is no shipped config 'dmo'; did you mean 'demo'?"),
        (["configs", "x"], "there is no shipped config 'x'; `prag configs` lists them"),
        (["fit", "--config", "dmo"], "there is no file 'dmo', and no config of that name; did you"),
        (["fit", "--config=configs/demo.yaml"], "no config of that name; did you mean 'demo'?"),
        (["fit", "-c", "none.yaml"], "none.yaml', and no config of that name; `prag configs`"),
    ],
)
def test_an_unknown_name_gets_a_hint(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_name_is_said_before_anything_large_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from prag_lightning.cli.main import main;"
        "status = main(['fit', '--config', 'dmo']);"
        "sys.exit(1 if {'torch', 'lightning', 'transformers'} & set(sys.modules) else status)"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "did you mean 'demo'?" in done.stderr


def test_a_name_stands_for_its_file_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder is no config.
    (tmp_path / "demo").mkdir()
    assert main(["fit", "--config", "demo", "--print_config"]) == 0
    by_name = capfd.readouterr().out
    assert main(["fit", "--config", str(CONFIGS / "demo.yaml"), "--print_config"]) == 0
    assert capfd.readouterr().out == by_name
    assert main(["fit", "--print_config"]) == 0
    assert capfd.readouterr().out != by_name


def test_a_file_comes_before_a_name_and_settings_written_out_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("demo") == str(shipped_configs()["demo"])
    (tmp_path / "demo").write_text("model:\n")
    assert find_config("demo") == "demo"
    assert find_config("{model: {lr: 0.1}}") == "{model: {lr: 0.1}}"
    assert find_config("s3://bucket/demo.yaml") == "s3://bucket/demo.yaml"


def test_only_the_values_of_config_are_names() -> None:
    demo, squad = (str(shipped_configs()[name]) for name in ("demo", "squad"))
    words = ["fit", "--config", "demo", "--model.base", "demo", "--config=squad", "-c", "demo"]
    expected = ["fit", "--config", demo, "--model.base", "demo", f"--config={squad}", "-c", demo]
    assert with_config_files(words) == expected
    assert with_config_files(["fit", "--config"]) == ["fit", "--config"]


def test_the_package_holds_every_config() -> None:
    tomllib = pytest.importorskip("tomllib")
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert table["package-dir"]["prag_lightning.configs"] == "configs"
    patterns = table["package-data"]["prag_lightning.configs"]
    packaged = {file for pattern in patterns for file in CONFIGS.glob(pattern)}
    assert packaged == {file for file in CONFIGS.rglob("*") if file.suffix in (".yaml", ".json")}
    assert shipped_configs().keys() == NAMES


@pytest.mark.slow
def test_a_wheel_holds_every_config(tmp_path: Path) -> None:
    # A build leaves files beside what it builds.
    left_out = shutil.ignore_patterns(".*", "build", "runs", "*.egg-info")
    tree = shutil.copytree(REPOSITORY, tmp_path / "tree", symlinks=True, ignore=left_out)
    words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert {f"prag_lightning/configs/{name}.yaml" for name in NAMES} <= set(held)
