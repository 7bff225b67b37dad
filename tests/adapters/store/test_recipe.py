"""In what a run and a store must agree."""

from pathlib import Path
from typing import Literal

import pytest

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.manifest import read_manifest
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import Recipe
from tests.adapters.store.store_world import RECIPE, fill

TARGETS = RECIPE.lora.target_modules


@pytest.mark.parametrize(
    ("change", "name", "stored", "asked"),
    [
        ({"base_digest": "4567"}, "base_digest", "'0123'", "'4567'"),
        ({"lora": LoraConfig(4, 32.0, TARGETS)}, "lora.rank", "2", "4"),
        ({"lora": LoraConfig(2, 8.0, TARGETS)}, "lora.alpha", "32.0", "8.0"),
        (
            {"lora": LoraConfig()},
            "lora.target_modules",
            "'down_proj, gate_proj'",
            "'down_proj, gate_proj, up_proj'",
        ),
        (
            {"modules": RECIPE.modules[:1]},
            "modules.model.layers.0.mlp.down_proj",
            "'10 to 6'",
            "'nothing'",
        ),
        ({"warm_start": "89ab"}, "warm_start", "'random:0'", "'89ab'"),
        ({"prompt_version": "2"}, "prompt_version", "'1'", "'2'"),
    ],
)
@pytest.mark.parametrize("mode", ["read", "write"])
def test_another_recipe_is_refused_with_both_values_and_both_ways_out(
    tmp_path: Path,
    mode: Literal["read", "write"],
    change: dict[str, object],
    name: str,
    stored: str,
    asked: str,
) -> None:
    fill(tmp_path, 1)
    with pytest.raises(ValueError, match="holds adapters of another recipe:") as refused:
        open_store(tmp_path, RECIPE.model_copy(update=change), mode=mode)
    line = f"\n  {name}: the store has {stored}, this run asks for {asked}\n"
    assert line in str(refused.value)
    assert "use another store folder" in str(refused.value)
    assert "change the settings back" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "name", "stored", "asked"),
    [
        ({"training": {**RECIPE.training, "lr": 1e-3}}, "training.lr", "0.0003", "0.001"),
        ({"training": {**RECIPE.training, "passes": 2}}, "training.passes", "1", "2"),
        (
            {"training": {**RECIPE.training, "quantization": "nf4"}},
            "training.quantization",
            "None",
            "'nf4'",
        ),
    ],
)
def test_training_settings_must_agree_to_add_adapters_and_not_to_read_them(
    tmp_path: Path, change: dict[str, object], name: str, stored: str, asked: str
) -> None:
    fill(tmp_path, 1)
    other = RECIPE.model_copy(update=change)
    line = f"\n  {name}: the store has {stored}, this run asks for {asked}\n"
    with pytest.raises(ValueError, match="of another recipe") as refused:
        open_store(tmp_path, other, mode="write")
    assert line in str(refused.value)
    open_store(tmp_path, other, mode="read").close()
    open_store(tmp_path, RECIPE.model_copy(update={"training": {}}), mode="read").close()


@pytest.mark.parametrize("mode", ["read", "write"])
def test_the_same_weights_at_another_path_are_the_same_base(
    tmp_path: Path, mode: Literal["read", "write"]
) -> None:
    fill(tmp_path, 1)
    moved = RECIPE.model_copy(update={"base_model": "/elsewhere/llama"})
    with open_store(tmp_path, moved, mode=mode) as store:
        assert store.recipe.base_model == "tiny/llama"


def newer(sampled: str | None, **changes: object) -> Recipe:
    """Return a recipe of today, whose digest covers the whole base."""
    update = {"base_digest": "4" * 32, "base_digest_version": 2, "sampled_base_digest": sampled}
    return RECIPE.model_copy(update={**update, **changes})


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_store_with_a_digest_of_the_first_version_is_compared_by_that(
    tmp_path: Path, mode: Literal["read", "write"]
) -> None:
    fill(tmp_path, 1)
    open_store(tmp_path, newer("0123", base_model="/elsewhere"), mode=mode).close()
    with pytest.raises(
        ValueError, match="base_digest: the store has '0123', this run asks for '4567'"
    ):
        open_store(tmp_path, newer("4567"), mode=mode)
    # Where there is no such digest, the name is all that is left.
    open_store(tmp_path, newer(None), mode=mode).close()
    with pytest.raises(ValueError, match="base_model: the store has 'tiny/llama'"):
        open_store(tmp_path, newer(None, base_model="/elsewhere"), mode=mode)


def test_two_digests_of_the_second_version_are_compared_whatever_the_sample_says(
    tmp_path: Path,
) -> None:
    open_store(tmp_path, newer("0123"), mode="write").close()
    open_store(tmp_path, newer("4567"), mode="read").close()
    # A change that the sample does not see.
    other = newer("0123", base_digest="5" * 32)
    with pytest.raises(ValueError, match=f"base_digest: the store has '{'4' * 32}'"):
        open_store(tmp_path, other, mode="read")


def test_an_imported_store_is_read_if_it_fits_the_base_and_written_by_nobody_else(
    tmp_path: Path,
) -> None:
    imported = RECIPE.model_copy(update={"warm_start": "unknown", "imported_from": "elsewhere"})
    open_store(tmp_path, imported, mode="write").close()
    open_store(tmp_path, RECIPE, mode="read").close()
    with pytest.raises(ValueError, match="imported_from: the store has 'elsewhere'"):
        open_store(tmp_path, RECIPE, mode="write")
    other_base = RECIPE.model_copy(update={"base_digest": "4567"})
    with pytest.raises(ValueError, match="base_digest"):
        open_store(tmp_path, other_base, mode="read")


@pytest.mark.parametrize("alpha", [32, 32.0, 0.1])
def test_the_recipe_survives_its_file(tmp_path: Path, alpha: float) -> None:
    recipe = Recipe(
        base_model="a/ü",
        base_digest="0123",
        lora=LoraConfig(2, alpha, TARGETS),
        modules=RECIPE.modules,
        warm_start="random:0",
        training={"lr": 1e-07, "passes": 1, "masked": False, "quantization": None, "on": "all"},
        prompt_version="1",
    )
    open_store(tmp_path, recipe, mode="write").close()
    with open_store(tmp_path, recipe, mode="read") as store:
        assert store.recipe == recipe
        assert [type(value) for value in store.recipe.training.values()] == [
            float, int, bool, type(None), str,
        ]  # fmt: skip
        assert store.layout == recipe.layout


def test_a_field_that_a_newer_version_added_is_refused_and_called_so(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    content = (tmp_path / "manifest.json").read_bytes()
    read_manifest(content, "manifest.json")
    newest = content.replace(b'"layout"', b'"depth": 3,\n "layout"')
    with pytest.raises(ValueError, match=r"field 'depth': .* or from a newer version"):
        read_manifest(newest, "manifest.json")
