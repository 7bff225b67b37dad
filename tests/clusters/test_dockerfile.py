"""The steps of the Dockerfile, run in a virtual environment instead of a container."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from prag_lightning.demo.world import write_world

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docs" / "clusters" / "Dockerfile"


def steps() -> Iterator[tuple[str, str]]:
    """Yield the instructions and their values."""
    parser = pytest.importorskip(
        "dockerfile_parse", reason="dockerfile-parse is not installed (extra test)"
    )
    with DOCKERFILE.open("rb") as file:
        for step in parser.DockerfileParser(fileobj=file).structure:
            yield step["instruction"], step["value"]


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split("*\n", 1)[1]
    let_through = {line.removeprefix("!") for line in ignore.splitlines()}
    copied = {name for kind, value in steps() if kind == "COPY" for name in value.split()[:-1]}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


class Container:
    """A virtual environment and a folder, in which the steps of an image are run."""

    def __init__(self, folder: Path) -> None:
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        self.root = self.work_dir = folder / "root"
        path = f"{environment / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        self.variables = {"PATH": path, "HOME": str(folder)}
        self.entrypoint: list[str] = []

    def run(self, kind: str, value: str) -> None:
        """Run one step; FROM and comments do nothing here."""
        if kind in ("ARG", "ENV"):
            for pair in value.split():
                name, _, given = pair.partition("=")
                self.variables.setdefault(name, given)
        elif kind == "WORKDIR":
            self.work_dir = self.root / value.lstrip("/")
            self.work_dir.mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            *names, to = value.split()
            for name in names:
                self._copy(ROOT / name, self.work_dir / to)
        elif kind == "RUN":
            self.do(["sh", "-c", value])
        elif kind == "ENTRYPOINT":
            self.entrypoint = json.loads(value)

    def do(self, words: list[str]) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            words, cwd=self.work_dir, env=self.variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _copy(self, source: Path, to: Path) -> None:
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, to, symlinks=True, ignore=leave_out)
        else:
            shutil.copy(source, to)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_steps_of_the_image_make_a_prag_that_encodes(tmp_path: Path) -> None:
    container = Container(tmp_path)
    # The build argument for a machine without a GPU.
    container.variables["TORCH"] = f"torch=={metadata.version('torch').partition('+')[0]}"
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_FIND_LINKS"):
        if name in os.environ:
            container.variables[name] = os.environ[name]
    for step in steps():
        container.run(*step)
    world = tmp_path / "world"
    write_world(world, num_people=2)
    said = container.do(
        [
            *(*container.entrypoint, "fit", "--config", "demo", "--data.folder", str(world)),
            *("--data.passes", "1", "--trainer.default_root_dir", str(tmp_path / "run")),
        ]
    )
    assert "2 of 2 documents are in" in said
    # Not of this checkout, but of the image.
    where = container.do(["python", "-c", "import prag_lightning; print(prag_lightning.__file__)"])
    assert str(tmp_path / "environment") in where
