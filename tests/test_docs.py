"""What the pages show, executed: the README's example, the pages on extending, doctests, links."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import lightning as L
import pytest
import torch
import yaml

import prag_lightning
from prag_lightning import (
    AdapterWriter,
    DocumentDataModule,
    LoraConfig,
    MergedEvaluation,
    MergeWeights,
    ParametricRAG,
    WarmStart,
)
from prag_lightning.adapters.merge import make_merge_rule
from prag_lightning.cli.main import COMMANDS, TRAINER_COMMANDS
from prag_lightning.clusters.ray import RayWorkers
from prag_lightning.demo.world import write_world
from prag_lightning.encoding.objectives import LossTokens
from prag_lightning.language_model.logits import Head

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's blocks of code in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# Lightning's advice to users, which a page's example gets as users get it.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_the_example_of_the_readme_runs_as_it_stands_and_stores_what_its_documents_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    closed_book, prag = names["results"]
    assert closed_book["closed_book/em"] == 0.0
    assert prag["prag/em"] == 1.0
    assert prag["prag/nll"] < closed_book["closed_book/nll"] - 5
    assert names["answer"].prediction == "Fenbury"
    assert names["answer"].adapters[0].document_id == "Nenora Kelaby"
    assert names["answer"].passages == []
    assert (tmp_path / "adapters" / "manifest.json").exists()


def test_the_readme_s_first_screen_holds_the_example() -> None:
    lines = README.splitlines()
    assert lines.index("import lightning as L") < 30


def test_the_two_commands_of_the_readme_stand_there_to_the_letter() -> None:
    environment = "python3 -m venv .venv && . .venv/bin/activate && pip install torch==2.13.0 -e "
    run = ". && prag fit --config configs/demo.yaml && prag test --config configs/demo.yaml"
    assert f"\n{environment}{run}\n" in README
    assert f"\n{environment}'.[dev]' && pytest\n" in README


def test_the_lines_of_the_readme_are_under_100_characters_but_for_the_two_commands() -> None:
    long = [line for line in README.splitlines() if len(line) >= 100]
    assert all(line.startswith(("python3 -m venv ", "```")) for line in long), long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    for target in targets:
        if not target.startswith(("http://", "https://")):
            assert os.path.exists(page.parent / target), target


SETTINGS = {
    "data": DocumentDataModule,
    "model": ParametricRAG,
    "model.lora": LoraConfig,
    "adapter_writer": AdapterWriter,
    "evaluation": MergedEvaluation,
    "warm_start": WarmStart,
    "ray": RayWorkers,
}
CURRENT_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]


def test_every_setting_that_a_page_names_is_there() -> None:
    wrong, num_named = [], 0
    for page in CURRENT_PAGES:
        text = page.read_text(encoding="utf-8")
        for group, name in re.findall(r"--([a-z_]+(?:\.lora)?)\.(\w+)", text):
            if group in SETTINGS:
                num_named += 1
                if name not in signature(SETTINGS[group]).parameters:
                    wrong.append(f"{page.name}: --{group}.{name}")
    assert not wrong
    assert num_named > 50


def test_every_command_that_a_page_names_is_there() -> None:
    commands = {*TRAINER_COMMANDS, *COMMANDS}
    for page in CURRENT_PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"^(?:\$ )?prag ([a-z]+)", text, re.MULTILINE)) <= commands, page


def test_every_module_that_a_page_names_is_there() -> None:
    for page in CURRENT_PAGES:
        for name in re.findall(r"prag_lightning(?:\.\w+)+", page.read_text(encoding="utf-8")):
            try:
                import_module(name)
            except ModuleNotFoundError:
                assert resolve_name(name) is not None


def test_every_file_that_the_pages_on_the_code_name_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "development.md"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:[\w.-]+/)+[\w-]*(?:\.\w+)?)`", text):
            if not name.startswith(("runs/", "earlier/", "partial/")):
                places = [ROOT / name, ROOT / "prag_lightning" / name]
                assert any(place.exists() for place in places), f"{page.name}: {name}"


def test_what_is_to_be_cited_has_the_version_of_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == prag_lightning.__version__


def test_the_api_page_names_all_that_is_public_and_nothing_else() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: prag_lightning\.(\w+)$", page, re.MULTILINE)) == (
        prag_lightning.__all__
    )


def test_the_site_has_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w/]+\.md", str(site["nav"]))
    there = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(there)


def test_the_merge_rule_of_the_page_is_made_as_the_page_names_it_and_weighs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "extending" / "merge_rule.md"
    (code,), (settings,) = blocks(page, "python"), blocks(page, "yaml")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_rules.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rule = make_merge_rule(yaml.safe_load(settings)["evaluation"]["merge"])
    del sys.modules["my_rules"]
    # 8.0 is within a fifth of 10.0, and 7.9 is not.
    assert rule.weigh([10.0, 8.0, 7.9]) == MergeWeights((0.5, 0.5, 0.0))
    assert rule.weigh([-1.0, -1.1]) == MergeWeights((0.5, 0.5))
    in_shell = re.search(r"--evaluation\.merge '(.*)'", page.read_text(encoding="utf-8"))
    assert in_shell
    assert yaml.safe_load(in_shell[1]) == yaml.safe_load(settings)["evaluation"]["merge"]


def test_the_objective_of_the_page_trains_as_its_equation_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "extending" / "objective.md"
    (code,), (settings,) = blocks(page, "python"), blocks(page, "yaml")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (tmp_path / "my_objectives.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    data = DocumentDataModule(**yaml.safe_load(settings)["data"])
    del sys.modules["my_objectives"]
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(30, 8)
    targets = torch.tensor([3, 1, 4, 1])
    found = data.objective.losses(LossTokens(hidden, Head(weight), targets))
    likelihood = (hidden @ weight.T).softmax(-1)[range(4), targets]
    torch.testing.assert_close(found, -(1 - likelihood) * likelihood.log())
    assert data.training_settings()["objective"] == "Focal(gamma=1.0)"
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().min() > 0


def test_the_examples_of_training_and_of_a_callback_work_together(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    for code in blocks(ROOT / "docs" / "extending.md", "python"):
        assert len(code.splitlines()) <= 15
        exec(compile(code, "extending.md", "exec"), names)
    write_world(tmp_path, num_people=2)
    counter = names["CountDocuments"]()
    module = names["WithoutDecay"]("demo", store=str(tmp_path / "store"))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[counter, AdapterWriter()],
    )
    trainer.fit(module, DocumentDataModule(tmp_path))
    assert counter.num_documents == 2
    assert trainer.optimizers[0].param_groups[0]["lr"] == 2 * module.lr


def test_the_page_on_extending_leads_to_every_page_below_it() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    below = {f"extending/{file.name}" for file in (ROOT / "docs" / "extending").glob("*.md")}
    assert below == set(re.findall(r"\]\((extending/\w+\.md)\)", page))


def modules_with_examples() -> list[str]:
    """Return the modules of the package whose docstrings have examples."""
    files = [*(ROOT / "prag_lightning").rglob("*.py"), *(ROOT / "callbacks").glob("*.py")]
    return sorted(
        ".".join(("prag_lightning", *file.relative_to(top).with_suffix("").parts))
        for file in files
        if re.search(r">>> (?!.*doctest: \+SKIP)", file.read_text(encoding="utf-8"))
        for top in [ROOT if file.is_relative_to(ROOT / "callbacks") else ROOT / "prag_lightning"]
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_docstrings_are_true(name: str) -> None:
    failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed


def test_the_description_of_the_package_leads_nowhere_that_a_package_index_has_not(
    tmp_path: Path,
) -> None:
    # The build makes files beside the sources.
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "prag_lightning", tmp_path / "prag_lightning", symlinks=True)
    for name in ("callbacks", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    program = "from setuptools.build_meta import *; print(prepare_metadata_for_build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.dist-info/METADATA")
    metadata = file.read_text(encoding="utf-8")
    assert "Description-Content-Type: text/markdown" in metadata
    targets = re.findall(r"\]\(([^)]*)\)", metadata)
    assert "https://arxiv.org/abs/2501.15915" in targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert "![" not in metadata
    assert "Documentation: API, extending" in metadata
    assert "[API](docs/api.md)" in README
