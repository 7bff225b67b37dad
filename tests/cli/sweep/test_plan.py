"""Which runs of a sweep share adapters: those of one recipe, as the store sees it."""

from pathlib import Path

import pytest

from prag_lightning.adapters.store.recipe import Recipe
from prag_lightning.cli.sweep.plan import PlannedRun, SweepPlanner
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.module import ParametricRAG

# Two values of each setting; adapters depend on it, or not.
MATTERS = {
    "model.lora.rank": ("1", "2"),
    "model.lora.target_modules": ("[down_proj]", "[up_proj]"),
    "model.lr": ("1e-3", "2e-3"),
    "model.dtype": ("float32", "bfloat16"),
    "trainer.precision": ("32-true", "bf16-mixed"),
    "warm_start.seed": ("0", "1"),
    "data.passes": ("1", "2"),
    "data.loss_on": ("prompt_and_answer", "answer"),
    "data.template": ("direct", "chain_of_thought"),
    "data.num_qas": ("null", "0"),
}
DOES_NOT = {
    "evaluation.merge": ("sum", "mean"),
    "model.num_slots": ("1", "2"),
    "model.max_new_tokens": ("1", "2"),
    "data.packed": ("true", "false"),
    "data.limit": ("null", "1"),
    "data.top_k": ("1", "3"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def planner(base_dir: Path, root: Path) -> SweepPlanner:
    words = ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)]
    return SweepPlanner([*words, "--model.base", str(base_dir), "--data.folder", "somewhere"])


def planned(planner: SweepPlanner, over: str) -> tuple[PlannedRun, Recipe]:
    """A run, and the recipe that its store is opened with."""
    (run,) = planner.plan([over])
    assert isinstance(planner.model, ParametricRAG)
    planner.model.configure_model()
    assert isinstance(planner.datamodule, DocumentDataModule)
    training = {**planner.model.training_settings(), **planner.datamodule.training_settings()}
    # The planner's module has no Trainer of its own.
    training["precision"] = str(planner.trainer.precision)
    return run, planner.model.recipe(planner.datamodule.training_encoder, training)


@pytest.mark.parametrize(
    ("key", "values", "matters"),
    [(*item, True) for item in MATTERS.items()] + [(*item, False) for item in DOES_NOT.items()],
)
def test_runs_share_a_store_exactly_if_they_have_one_recipe(
    key: str, values: tuple[str, str], matters: bool, planner: SweepPlanner
) -> None:
    (one, recipe), (other, other_recipe) = (planned(planner, f"{key}={v}") for v in values)
    assert (one.store != other.store) == matters
    assert (recipe != other_recipe) == matters
    assert one.digest != other.digest
    assert one.folder != other.folder


@pytest.mark.parametrize(
    "over",
    [
        "data.folder=here,there",
        "data.augmentations=null,others.jsonl",
        "adapter_writer.dtype=float32,int8",
        "layout=packed,peft",
    ],
)
def test_other_files_and_other_forms_of_a_store_are_kept_apart_too(
    over: str, planner: SweepPlanner
) -> None:
    first, second = planner.plan([over])
    assert first.store != second.store


def test_a_plan_is_the_same_in_every_process_and_says_what_prag_fit_is_given(
    planner: SweepPlanner, root: Path
) -> None:
    (run, _) = planner.plan(["rank=4,8"])
    assert planner.plan(["rank=4"]) == [run]
    assert run.folder == root / "sweep" / "rank=4"
    assert run.store.parent == root / "sweep" / "adapters"
    assert run.words[-3:] == [
        "--model.lora.rank=4",
        f"--trainer.default_root_dir={run.folder}",
        f"--model.store={run.store}",
    ]
