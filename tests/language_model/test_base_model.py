from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from prag_lightning.documents import still_running
from prag_lightning.language_model import base_model
from prag_lightning.language_model.base_model import load_base, load_tokenizer
from tests.conftest import tiny_base, tiny_tokenizer

IDS = torch.randint(0, 400, (1, 12), generator=torch.Generator().manual_seed(0))


def test_a_base_is_loaded_frozen_without_dropout_and_as_it_was_saved(base_dir: Path) -> None:
    base = load_base(str(base_dir))
    assert not base.training
    assert not any(parameter.requires_grad for parameter in base.parameters())
    with torch.no_grad():
        assert torch.equal(base(input_ids=IDS).logits, tiny_base()(input_ids=IDS).logits)


def test_a_base_keeps_the_dtype_of_its_files_unless_another_is_asked_for(tmp_path: Path) -> None:
    tiny_base(dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert load_base(str(tmp_path)).dtype == torch.bfloat16
    assert load_base(str(tmp_path), dtype="float32").dtype == torch.float32


def test_files_without_all_weights_are_refused_instead_of_filled_with_random_ones(
    tmp_path: Path,
) -> None:
    tiny_base().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    message = r"lacks 1 of its tensors, 'model\.layers\.1\.mlp\.up_proj\.weight' first"
    with pytest.raises(ValueError, match=message):
        load_base(str(tmp_path))


def test_a_head_that_is_the_embedding_again_is_no_missing_weight(tmp_path: Path) -> None:
    base = tiny_base()
    base.config.tie_word_embeddings = True
    base.tie_weights()
    base.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = load_base(str(tmp_path))
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


def test_a_loaded_model_is_a_base_as_its_files_are(base_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_dir).train()
    base = load_base(model)
    assert base is model
    assert not base.training
    assert not any(parameter.requires_grad for parameter in base.parameters())
    # Its tokenizer lies where it came from.
    assert load_tokenizer(base).get_vocab() == load_tokenizer(str(base_dir)).get_vocab()


def test_a_loaded_tokenizer_stands_for_itself() -> None:
    tokenizer = tiny_tokenizer()
    assert load_tokenizer(tokenizer) is tokenizer


def test_a_model_made_in_memory_has_no_tokenizer_of_its_own() -> None:
    with pytest.raises(ValueError, match="not loaded from files; give its tokenizer, too"):
        load_tokenizer(tiny_base())


def test_a_loaded_model_cannot_be_loaded_otherwise() -> None:
    with pytest.raises(ValueError, match="a loaded model, which keeps its precision; leave dtype"):
        load_base(tiny_base(), dtype="bfloat16")
    with pytest.raises(ValueError, match="leave dtype and quantization out"):
        load_base(tiny_base(), quantization="nf4")


def test_a_loaded_model_with_adapters_in_it_is_refused() -> None:
    base = tiny_base()
    get_peft_model(base, LoraConfig(target_modules=["up_proj"]))
    with pytest.raises(ValueError, match="the loaded LlamaForCausalLM has adapters of PEFT in it"):
        load_base(base)


def test_a_model_that_takes_long_to_load_says_that_it_does(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = base_model._load
    load_base(str(base_dir))
    assert "loading base model" not in capsys.readouterr().err

    def slowly(*arguments: Any) -> Any:
        sleep(0.3)
        return load(*arguments)

    monkeypatch.setattr(still_running, "_FIRST_AFTER_S", 0.05)
    monkeypatch.setattr(base_model, "_load", slowly)
    load_base(str(base_dir))
    assert f"loading base model '{base_dir}'\n" in capsys.readouterr().err


def test_loading_prints_no_bar_and_leaves_those_of_others_as_they_are(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    was_enabled = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        AutoModelForCausalLM.from_pretrained(base_dir)
        assert "Loading weights" in capfd.readouterr().err
        load_base(str(base_dir))
        assert capfd.readouterr() == ("", "")
        assert logging.is_progress_bar_enabled()
        assert not are_progress_bars_disabled()
        logging.disable_progress_bar()
        load_base(str(base_dir))
        assert not logging.is_progress_bar_enabled()
        assert are_progress_bars_disabled()
    finally:
        (logging.enable_progress_bar if was_enabled else logging.disable_progress_bar)()
