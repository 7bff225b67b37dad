import re
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import Recipe
from prag_lightning.evaluation.report.adapter_norms import adapter_norms, update_norms
from prag_lightning.evaluation.report.curves import loss_curve
from prag_lightning.evaluation.report.figures import loss_figure, norm_figure
from prag_lightning.evaluation.report.run_folder import Losses

RECIPE = Recipe(
    base_model="base",
    base_digest="0",
    lora=LoraConfig(rank=3, alpha=6.0, target_modules=("up", "down")),
    modules=(
        ("model.layers.0.mlp.up", 8, 10),
        ("model.layers.0.mlp.down", 10, 8),
        ("model.layers.1.mlp.up", 8, 10),
        ("model.layers.1.mlp.down", 10, 8),
    ),
    warm_start="0",
    training={},
    prompt_version="0",
)


def test_a_norm_is_that_of_the_whole_product() -> None:
    row = torch.randn(RECIPE.layout.num_params, generator=torch.Generator().manual_seed(0))
    parts = list(RECIPE.layout.split(row).values())
    expected = [
        torch.linalg.matrix_norm(2.0 * lora_B @ lora_A).item()
        for lora_A, lora_B in zip(parts[::2], parts[1::2], strict=True)
    ]
    assert update_norms(row, RECIPE) == pytest.approx(expected, rel=1e-5)
    assert update_norms(torch.zeros_like(row), RECIPE) == [0] * 4


def test_norms_are_sorted_by_module_and_layer_and_large_stores_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.randn(7, RECIPE.layout.num_params, generator=torch.Generator().manual_seed(1))
    with open_store(tmp_path, RECIPE, mode="write") as store:
        assert adapter_norms(store) is None
        store.put_many([f"d{n}" for n in range(7)], rows, ["0"] * 7)
        norms = adapter_norms(store)
        monkeypatch.setattr("prag_lightning.evaluation.report.adapter_norms._MOST_DOCUMENTS", 3)
        sampled = adapter_norms(store)
    assert norms is not None
    assert norms.num_documents == 7
    assert {name: list(by_layer) for name, by_layer in norms.norms.items()} == {
        "up": [0, 1],
        "down": [0, 1],
    }
    assert norms.norms["down"][1][4].item() == pytest.approx(update_norms(rows[4], RECIPE)[3])
    assert sampled is not None
    assert sampled.num_documents == 3
    assert ">up</text>" in norm_figure(norms, "n")


def test_a_curve_counts_every_document_from_its_own_first_step() -> None:
    losses: list[Losses] = [[4.0, 3.0, 2.0, 1.0], [8.0, None, 4.0, 3.0], [6.0, 5.0]]
    curve = loss_curve(losses, passes=2)
    assert curve is not None
    assert curve.num_documents.tolist() == [3, 2, 3 - 1, 2]
    assert curve.median.tolist() == [6.0, 4.0, 3.0, 2.0]
    assert all(curve.low <= curve.median)
    assert all(curve.median <= curve.high)
    assert curve.low[0] == pytest.approx(4.4)
    # The third document's passes have one step each.
    assert curve.pass_means == pytest.approx([(4 + 3 + 8 + 6) / 4, (2 + 1 + 4 + 3 + 5) / 5])
    assert curve.pass_length is None
    assert (loss_curve(losses[:2], passes=2) or curve).pass_length == 2


@pytest.mark.parametrize("losses", [[], [[]], [[None, None]]])
def test_without_a_loss_there_is_no_curve(losses: list[list[float | None]]) -> None:
    assert loss_curve(losses, passes=1) is None


def test_a_figure_is_svg_with_text_in_the_page_s_colours_and_ids_of_its_own() -> None:
    curve = loss_curve([[3.0, 2.0, 1.5, 1.0]], passes=2)
    assert curve is not None
    one, other = loss_figure(curve, "a"), loss_figure(curve, "b")
    assert one.startswith("<svg")
    assert "step within a document</text>" in one
    assert "var(--ink)" in one
    assert "#010203" not in one
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', one))
    assert {a or b for a, b in used} <= ids[0]
    assert "<script" not in one
