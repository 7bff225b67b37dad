"""What `check_base` finds out, and that it finds what a base must not do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionMaskInterface, PreTrainedModel

from prag_lightning.language_model import base_check
from prag_lightning.language_model.attention import SEGMENTED, window_instead_of_mask
from prag_lightning.language_model.base_check import BaseAbilities, check_base
from prag_lightning.language_model.logits import last_hidden_states
from tests.conftest import tiny_base
from tests.language_model.architectures import tiny

IDS = torch.randint(0, 400, (1, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_plain_model_packs_and_is_left_as_it_was(architecture: str, dtype: torch.dtype) -> None:
    base = tiny_base(architecture, dtype)
    before = base(input_ids=IDS).logits
    own = base.config._attn_implementation
    assert check_base(base) == BaseAbilities(packs=True, attention=SEGMENTED, max_tokens=None)
    assert base.config._attn_implementation == own != SEGMENTED
    assert torch.equal(base(input_ids=IDS).logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_experts_that_round_by_their_number_of_tokens_pack(
    model_type: str, dtype: torch.dtype
) -> None:
    base = tiny(model_type)
    base.to(dtype=dtype)  # type: ignore[call-arg]
    assert check_base(base).packs


# By how much the states of a prompt follow the one before it: 3 % was let through once.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", [1e-3, 0.3, 1.0])
def test_a_convolution_that_reads_across_prompts_is_found_however_little_it_adds(
    strength: float, dtype: torch.dtype
) -> None:
    base = tiny("lfm2")
    for name, parameter in base.named_parameters():
        if "conv.out_proj" in name:
            parameter.data.mul_(strength)
    base.to(dtype=dtype)  # type: ignore[call-arg]
    abilities = check_base(base)
    assert (abilities.packs, abilities.attention) == (False, base.config._attn_implementation)
    assert abilities.remarks == (
        "Lfm2ForCausalLM reads every prompt in a row of its own, for its layers carry something "
        "over from one prompt to the next.",
    )


def test_a_model_that_does_not_pass_on_where_prompts_end_reads_rows() -> None:
    base = tiny_base()

    def forget(module: object, args: object, kwargs: dict[str, object]) -> tuple[object, object]:
        kwargs.pop("segment_lengths", None)
        return args, kwargs

    hook = base.get_decoder().register_forward_pre_hook(forget, with_kwargs=True)
    assert not check_base(base).packs
    hook.remove()
    assert check_base(base).packs


@pytest.mark.parametrize("model_type", ["phimoe", "qwen2_moe", "mistral"])
def test_a_window_that_layers_do_not_get_is_found_though_it_is_wider_than_all_that_is_read(
    model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny(model_type, sliding_window=4096)
    layers = [m for m in base.modules() if getattr(m, "sliding_window", None) == 4096]
    assert check_base(base).packs
    assert base.config.sliding_window == 4096
    assert all(layer.sliding_window == 4096 for layer in layers)

    def forget(*args: Any, **kwargs: Any) -> None:
        return None

    monkeypatch.setitem(AttentionMaskInterface._global_mapping, SEGMENTED, forget)
    # Mistral's layers hand their window on; the others rely on the mask for it.
    assert check_base(base).packs == (model_type == "mistral")


def test_a_model_whose_attention_is_capped_reads_rows_with_its_own() -> None:
    base = tiny("gemma2")
    abilities = check_base(base)
    assert (abilities.packs, abilities.attention) == (False, "eager")
    assert "its attention cannot be replaced by PyTorch's" in abilities.remarks[0]


@pytest.mark.parametrize(
    ("model_type", "setting"),
    [("gemma3_text", "final_logit_softcapping"), ("granite", "logits_scaling")],
)
def test_a_head_that_is_not_as_its_config_says_is_refused(model_type: str, setting: str) -> None:
    base = tiny(model_type, **{setting: 0.5})
    check_base(base)

    def double(module: object, args: object, output: Tensor) -> Tensor:
        return output * 2

    # The logits of the model itself, but not those that the loss makes of its states.
    base.get_output_embeddings().register_forward_hook(double)
    with pytest.raises(ValueError, match=r"ForCausalLM cannot be used: its head does more than a"):
        check_base(base)


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="depends on later tokens or on other rows"):
        check_base(tiny("bert-generation"))


def test_a_model_with_a_number_that_is_none_is_refused() -> None:
    base = tiny_base()
    next(base.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"cannot be used: .* \(the logits differ by nan%\)"):
        check_base(base)


def broken(error: Exception) -> Callable[..., None]:
    def run(*args: object, **kwargs: object) -> None:
        raise error

    return run


def test_what_a_model_s_own_code_throws_is_one_line_with_its_name() -> None:
    base: PreTrainedModel = tiny_base()
    base.get_decoder().register_forward_pre_hook(broken(AttributeError("no\n  'thing'")))
    with pytest.raises(ValueError, match=r"^LlamaForCausalLM cannot be used: .*\(no 'thing'\)$"):
        check_base(base)
    assert base.config._attn_implementation != SEGMENTED


def test_a_full_memory_says_nothing_about_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_check, "_check_head", broken(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        check_base(tiny_base())


def test_a_packed_row_is_never_read_with_attention_that_would_take_it_for_one_text() -> None:
    base = tiny_base()
    with pytest.raises(ValueError, match="LlamaForCausalLM would read as one text"):
        last_hidden_states(base, IDS, None, (5, 7))


def test_chunks_are_no_windows() -> None:
    base = tiny("llama4_text")
    with pytest.raises(ValueError, match="within chunks"):
        window_instead_of_mask(config=base.config, local_size=base.config.attention_chunk_size)
