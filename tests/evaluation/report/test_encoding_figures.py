import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.recipe import Recipe
from prag_lightning.evaluation.report.adapter_norms import adapter_norms, update_norms
from prag_lightning.evaluation.report.adapter_similarity import (
    adapter_similarity,
    update_products,
)
from prag_lightning.evaluation.report.comparison import ScoreRow
from prag_lightning.evaluation.report.curves import loss_curve
from prag_lightning.evaluation.report.drawing import Drawing
from prag_lightning.evaluation.report.figures import (
    loss_figure,
    norm_figure,
    score_figure,
    similarity_figure,
)
from prag_lightning.evaluation.report.run_folder import Losses
from prag_lightning.evaluation.scores import summarize
from tests.evaluation.report.predictions import prediction

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
    assert ">up</text>" in norm_figure(norms, "n").svg()


def test_products_of_updates_are_those_of_the_whole_products() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(3, RECIPE.layout.num_params, generator=generator)
    updates = []
    for row in rows:
        parts = list(RECIPE.layout.split(row).values())
        pairs = zip(parts[::2], parts[1::2], strict=True)
        updates.append(torch.cat([(2.0 * B @ A).flatten() for A, B in pairs]).double())
    whole = torch.stack(updates)
    torch.testing.assert_close(update_products(rows, RECIPE), whole @ whole.T, rtol=1e-4, atol=1e-4)


def test_adapters_are_as_alike_as_their_updates_point_one_way(tmp_path: Path) -> None:
    row = torch.randn(RECIPE.layout.num_params, generator=torch.Generator().manual_seed(2))
    # lora_B, and so the update, with the other sign.
    matrices = RECIPE.layout.matrices
    against, nothing = row.clone(), row.clone()
    for second in matrices[1::2]:
        against[second.start : second.stop] *= -2
        nothing[second.start : second.stop] = 0
    with open_store(tmp_path / "store", RECIPE, mode="write") as store:
        store.put_many(["a", "b", "c"], torch.stack([row, against, nothing]), ["0", "0", "0"])
        similarity = adapter_similarity(store)
    assert similarity is not None
    expected = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(similarity, expected, rtol=0, atol=1e-9)
    figure = similarity_figure(similarity, "s")
    assert "-0.333 on average" in figure.caption
    assert "cosine of two documents</text>" in figure.svg()


def test_a_store_of_one_adapter_has_nothing_to_compare(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", RECIPE, mode="write") as store:
        store.put_many(["a"], torch.ones(1, RECIPE.layout.num_params), ["0"])
        assert adapter_similarity(store) is None


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


def drawing(name: str = "a") -> Drawing:
    """A drawing of losses."""
    curve = loss_curve([[3.0, 2.0, 1.5, 1.0]], passes=2)
    assert curve is not None
    return loss_figure(curve, "What it shows.", name)


def test_a_figure_is_svg_with_text_in_the_page_s_colours_and_ids_of_its_own() -> None:
    one, other = drawing("a").svg(), drawing("b").svg()
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


def test_a_figure_in_a_file_stands_by_itself_and_is_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        drawing().write(tmp_path / folder)
    svg, pdf = (tmp_path / "one" / f"a.{kind}" for kind in ("svg", "pdf"))
    assert "var(--" not in svg.read_text()
    assert "#010203" not in svg.read_text()
    assert ElementTree.fromstring(svg.read_text()).tag.endswith("svg")
    assert pdf.read_bytes().startswith(b"%PDF")
    for file in (svg, pdf):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_texts_in_a_figure_are_neither_formulas_nor_orders(tmp_path: Path) -> None:
    kinds = ["$x$_{", "\x1b[31m\x07red", "东京", "<b>&"]
    rows = [ScoreRow(score, {}) for score in summarize(
        [prediction("prag", number, 1.0, type=kind) for number, kind in enumerate(kinds)]
    )]  # fmt: skip
    figure = score_figure(rows, kinds, "scores")
    shown = figure.svg()
    assert "$x$_{, F1" in shown
    assert "red, F1" in shown
    assert "\x1b" not in shown
    assert "东京, F1" in shown
    assert "<b>" not in shown
    figure.write(tmp_path)
    assert ElementTree.fromstring((tmp_path / "scores.svg").read_text()) is not None
