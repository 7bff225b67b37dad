import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
)

from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.base_model import (
    check_base,
    load_base,
    load_tokenizer,
    weights_digest,
)
from tests.conftest import tiny_base, tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
IDS = torch.randint(0, 400, (1, 12), generator=torch.Generator().manual_seed(0))


def capped(cap: float | None) -> PreTrainedModel:
    """A small model whose logits, of about 1, are pressed below ``cap``."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(**SIZES, head_dim=8, final_logit_softcapping=cap)
    model: PreTrainedModel = Gemma3ForCausalLM(config)
    model.get_output_embeddings().weight.data.mul_(10)
    model.eval()
    return model


def scaled(scaling: float) -> PreTrainedModel:
    """A small model that divides its logits."""
    torch.manual_seed(0)
    model: PreTrainedModel = GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=scaling))
    model.eval()
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_plain_model_passes_and_keeps_its_attention(
    architecture: str, dtype: torch.dtype
) -> None:
    base = tiny_base(architecture, dtype)
    before = base(input_ids=IDS).logits
    own = base.config._attn_implementation
    check_base(base)
    assert base.config._attn_implementation == own != SEGMENTED
    assert torch.equal(base(input_ids=IDS).logits, before)


@pytest.mark.parametrize(("make", "neutral", "odd"), [(capped, None, 30.0), (scaled, 1.0, 8.0)])
def test_a_model_whose_logits_are_more_than_a_linear_layer_is_refused(
    make: Callable[[float | None], PreTrainedModel], neutral: float | None, odd: float
) -> None:
    check_base(make(neutral))
    name = type(make(neutral)).__name__
    with pytest.raises(ValueError, match=f"{name} cannot be used: its head does more than"):
        check_base(make(odd))


def test_a_model_whose_attention_cannot_be_replaced_is_refused() -> None:
    config = Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=None)
    with pytest.raises(ValueError, match="its attention cannot be replaced by PyTorch's"):
        check_base(Gemma2ForCausalLM(config).eval())


def test_a_model_that_does_not_say_which_tokens_belong_together_is_refused() -> None:
    base = tiny_base()
    for name, parameter in base.named_parameters():
        if "self_attn" in name:
            # As drawn, attention adds next to nothing.
            parameter.data.mul_(10)
    decoder = base.get_decoder()

    def forget(module: object, args: object, kwargs: dict[str, object]) -> tuple[object, object]:
        kwargs.pop("segment_lengths", None)
        return args, kwargs

    hook = decoder.register_forward_pre_hook(forget, with_kwargs=True)
    with pytest.raises(ValueError, match="packed prompts are not read as each alone"):
        check_base(base)
    hook.remove()
    base.set_attn_implementation("sdpa")
    check_base(base)


def test_a_model_with_a_number_that_is_none_is_refused() -> None:
    base = tiny_base()
    next(base.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"cannot be used: .* \(its logits differ by nan%\)"):
        check_base(base)


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


@pytest.mark.parametrize("load", [load_base, load_tokenizer])
def test_a_base_that_is_nowhere_is_named_in_one_line(
    load: Callable[[str], object], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"base model '.*missing' cannot be loaded") as info:
        load(missing)
    assert "\n" not in str(info.value)
    assert str(info.value).endswith("or a hub name that this machine can reach")


def test_files_that_are_broken_are_named(tmp_path: Path) -> None:
    tiny_base().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken" * 99)
    with pytest.raises(FileNotFoundError, match=r"cannot be loaded \(.*header"):
        load_base(str(tmp_path))


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


def test_a_tokenizer_without_a_padding_token_pads_with_its_end(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == "<|end|>"


def test_the_digest_is_that_of_the_files_and_changes_with_each_tensor(base_dir: Path) -> None:
    expected = weights_digest(tiny_base())
    assert weights_digest(load_base(str(base_dir))) == expected
    found = {expected}
    for number, _ in enumerate(tiny_base().parameters()):
        changed = tiny_base()
        list(changed.parameters())[number].data.flatten()[3] += 1e-3
        found.add(weights_digest(changed))
    assert len(found) == 1 + len(list(tiny_base().parameters()))
    assert len(expected) == 16


@pytest.mark.parametrize("first_row", [0, 200, 399])
def test_the_digest_sees_a_change_of_rows_anywhere(first_row: int) -> None:
    changed = tiny_base()
    embeddings: Any = changed.get_input_embeddings()
    embeddings.weight.data[first_row:] += 1e-3
    assert weights_digest(changed) != weights_digest(tiny_base())


def test_the_digest_tells_architectures_apart_and_precisions_of_other_values() -> None:
    digests = {weights_digest(tiny_base(name)) for name in ("llama", "qwen2")}
    digests.add(weights_digest(tiny_base(dtype=torch.bfloat16)))
    assert len(digests) == 3


def test_a_model_that_is_no_language_model_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match="T5"):
        load_base(str(tmp_path))
