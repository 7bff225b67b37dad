"""A base with an adapter in its weights against the bank with the adapter over it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
)
from prag_lightning.cli.main import main
from prag_lightning.language_model.base_model import load_base
from prag_lightning.language_model.merged_base import merge_into_base
from tests.conftest import tiny_base, tiny_tokenizer

TARGETS = {"llama": ("gate_proj", "down_proj"), "gpt2": ("c_fc",)}


def tiny_gpt2() -> PreTrainedModel:
    """A model whose layers hold their weights transposed."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4))
    model.eval()
    return model


@pytest.fixture
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, AdapterBank]:
    """A folder of a base and one of an adapter; the base with that adapter in a bank."""
    architecture = request.param
    base = tiny_base() if architecture == "llama" else tiny_gpt2()
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    lora = LoraConfig(rank=3, alpha=12, target_modules=TARGETS[architecture])
    bank = AdapterBank(base, lora, 1)
    torch.nn.init.normal_(bank.weight, std=0.05)
    row = bank.weight.detach()[0]
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / CONFIG_FILE).write_bytes(config_json(lora, str(tmp_path / "base")))
    (tmp_path / "adapter" / WEIGHTS_FILE).write_bytes(adapter_bytes(row, bank.layout))
    return architecture, bank


@pytest.mark.parametrize("adapter", TARGETS, indirect=True)
def test_the_merged_base_says_what_the_base_says_with_the_adapter(
    adapter: tuple[str, AdapterBank], tmp_path: Path
) -> None:
    _, bank = adapter
    ids = torch.randint(0, 400, (2, 9), generator=torch.Generator().manual_seed(1))
    base = load_base(str(tmp_path / "base"))
    alone = base(input_ids=ids).logits
    over = AdapterBank(base, bank.config, 1)
    over.load(0, bank.weight.detach()[0])
    with torch.no_grad(), over.routed(Route(torch.zeros(2, 1, dtype=torch.long))):
        expected = base(input_ids=ids).logits
    words = [str(tmp_path / name) for name in ("base", "adapter", "merged")]
    assert main(["base", "merge", *words]) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert (expected - alone).abs().max() > 0.01
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("adapter", ["llama"], indirect=True)
def test_what_cannot_be_merged_is_said_in_one_line(
    adapter: tuple[str, AdapterBank], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, folder = str(tmp_path / "base"), str(tmp_path / "adapter")
    for words, said in [
        ((base, folder, str(tmp_path)), "is there already"),
        ((base, str(tmp_path / "none"), "new"), "none"),
        (("demo", folder, str(tmp_path / "new")), "adapter_model.safetensors"),
    ]:
        assert main(["base", "merge", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not (tmp_path / "new").exists()
    with pytest.raises(FileExistsError):
        merge_into_base(base, Path(folder), tmp_path)
