"""Adapters of the published encoder, into a store."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
)
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.published import (
    find_adapters,
    import_adapters,
    published_settings,
    read_lora,
)
from tests.adapters.store.store_world import RECIPE, adapters

LAYOUT = RECIPE.layout
BELOW = "offline/llama/rank=2_alpha=32/2wiki/lr=0.0003_epoch=1_direct/aug_model=llama/total"


def write_published(folder: Path, numbers: list[tuple[int, int]]) -> Tensor:
    """Write adapters as the published encoder does, every other one with doubled keys."""
    rows = adapters(len(numbers))
    for count, ((i, j), row) in enumerate(zip(numbers, rows, strict=True)):
        passage = folder / f"data_{i}" / f"passage_{j}"
        passage.mkdir(parents=True)
        tensors = LAYOUT.split(row)
        if count % 2:
            tensors = {f"base_model.model.{key}": tensor for key, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, passage / WEIGHTS_FILE, metadata={"format": "pt"})
        (passage / CONFIG_FILE).write_bytes(config_json(RECIPE.lora, "/home/someone/llama"))
        (passage / "README.md").write_text("---")
    return rows


def test_published_adapters_are_stored_in_the_order_of_their_questions(tmp_path: Path) -> None:
    numbers = [(0, 0), (0, 1), (2, 0), (10, 0)]
    rows = write_published(tmp_path / BELOW, numbers)
    found = find_adapters(tmp_path / BELOW)
    ids = [f"data_{i}/passage_{j}" for i, j in numbers]
    assert [adapter.document_id for adapter in found] == ids
    assert read_lora(found[0]) == RECIPE.lora
    with open_store(tmp_path / "store", RECIPE, mode="write") as store:
        import_adapters(found, store)
        assert torch.equal(store.get_many(ids), rows)
        # Once more changes nothing.
        import_adapters(found, store)
        assert len(store) == 4


def test_ids_of_several_types_of_questions_do_not_meet(tmp_path: Path) -> None:
    write_published(tmp_path / "bridge", [(0, 0)])
    write_published(tmp_path / "comparison", [(0, 0)])
    ids = [adapter.document_id for adapter in find_adapters(tmp_path)]
    assert ids == ["bridge/data_0/passage_0", "comparison/data_0/passage_0"]


def test_with_the_data_file_a_passage_of_several_questions_is_one_document(tmp_path: Path) -> None:
    rows = write_published(tmp_path / BELOW, [(0, 0), (0, 1), (1, 0)])
    data_file = tmp_path / "total.json"
    questions = [["Paris is big.", "Rome is old."], ["Rome is old."]]
    data = [{"augment": [{"pid": j, "passage": p} for j, p in enumerate(q)]} for q in questions]
    data_file.write_text(json.dumps(data))
    found = find_adapters(tmp_path / BELOW, data_file, passage_id=str.upper)
    assert [adapter.document_id for adapter in found] == [
        "PARIS IS BIG.",
        "ROME IS OLD.",
    ]
    with open_store(tmp_path / "store", RECIPE, mode="write") as store:
        import_adapters(found, store)
        assert torch.equal(store.get_many(["ROME IS OLD."])[0], rows[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"has no passage 'data_0/passage_0'; give the data file"),
        ("{}", r"has no passage"),
        ("[1]", "not a published data file, a list of questions with 'augment'"),
        ("[{}]", "KeyError: 'augment'"),
        ("{", "JSONDecodeError"),
    ],
)
def test_a_data_file_of_something_else_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    write_published(tmp_path / BELOW, [(0, 0)])
    (tmp_path / "total.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        find_adapters(tmp_path / BELOW, tmp_path / "total.json")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no data_\*/passage_\* folder"):
        find_adapters(tmp_path)
    write_published(tmp_path, [(0, 0)])
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        find_adapters(tmp_path, tmp_path / "none.json")
    (adapter,) = find_adapters(tmp_path)
    (adapter.folder / CONFIG_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json: no such file"):
        read_lora(adapter)


def test_the_training_is_read_from_the_names_of_the_folders(tmp_path: Path) -> None:
    write_published(tmp_path / BELOW, [(0, 0)])
    expected = {"lr": "0.0003_epoch=1_direct", "aug_model": "llama"}
    assert published_settings(tmp_path) == expected
    assert published_settings(tmp_path / BELOW) == expected
    write_published(tmp_path / BELOW.replace("lr=0.0003", "lr=0.001"), [(0, 0)])
    with pytest.raises(ValueError, match=r"several trainings .* import each into its own store"):
        published_settings(tmp_path)


def test_an_adapter_that_matches_no_module_is_refused_by_its_folder(
    tmp_path: Path,
) -> None:
    rows = write_published(tmp_path, [(0, 0), (1, 0)])
    wrong = {key.replace("layers.0", "layers.7"): t for key, t in LAYOUT.split(rows[1]).items()}
    target = tmp_path / "data_1/passage_0"
    (target / WEIGHTS_FILE).write_bytes(safetensors.torch.save(wrong))
    with open_store(tmp_path / "store", RECIPE, mode="write") as store:
        with pytest.raises(ValueError, match=r"data_1/passage_0/.*4 of 4 tensors are missing"):
            import_adapters(find_adapters(tmp_path), store)
        assert len(store) == 0


def test_a_torn_file_of_the_published_encoder_is_refused(tmp_path: Path) -> None:
    (row,) = write_published(tmp_path, [(0, 0)])
    content = adapter_bytes(row, LAYOUT)
    (tmp_path / "data_0/passage_0" / WEIGHTS_FILE).write_bytes(content[:-10])
    with (
        open_store(tmp_path / "store", RECIPE, mode="write") as store,
        pytest.raises(ValueError, match=r"data_0/passage_0/.*no whole safetensors file"),
    ):
        import_adapters(find_adapters(tmp_path), store)
