import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from prag_lightning.language_model.base_model import load_base
from prag_lightning.language_model.digest import base_digest, weights_digest
from tests.conftest import tiny_base
from tests.language_model.architectures import tiny

BOTH = pytest.mark.parametrize("digest_of", [base_digest, weights_digest])


def saved(base: PreTrainedModel, folder: Path, **settings: Any) -> str:
    """Where a model lies, with some settings of its config.json changed."""
    base.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    return str(folder)


@BOTH
def test_a_digest_is_that_of_the_files_and_changes_with_each_tensor(
    digest_of: Any, base_dir: Path
) -> None:
    expected = digest_of(tiny_base())
    assert digest_of(load_base(str(base_dir))) == expected
    found = {expected}
    for number, _ in enumerate(tiny_base().parameters()):
        changed = tiny_base()
        list(changed.parameters())[number].data.flatten()[3] += 1e-3
        found.add(digest_of(changed))
    assert len(found) == 1 + len(list(tiny_base().parameters()))


def test_no_number_can_change_without_changing_the_digest() -> None:
    base = tiny_base()
    embeddings: Any = base.get_input_embeddings()
    weight = embeddings.weight.data
    expected = base_digest(base), weights_digest(base)
    # The older digest looks at 1,088 of these 12,800 numbers.
    unseen = weight.view(-1)[65:76:3]
    unseen.neg_()
    assert base_digest(base) != expected[0]
    assert weights_digest(base) == expected[1]


CHANGES = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    "rms_norm_eps": 1e-2,
    "hidden_act": "gelu",
    "attention_bias": True,
}


@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_that_changes_what_is_computed_changes_the_digest(setting: str) -> None:
    base = tiny("llama")
    expected = base_digest(base)
    setattr(base.config, setting, CHANGES[setting])
    assert base_digest(base) != expected


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cache": False},
        {"transformers_version": "5.0.0"},
        {"_name_or_path": "/elsewhere"},
        {"eos_token_id": 7, "pad_token_id": 9},
        {"attention_dropout": 0.5},
        {"initializer_range": 0.5},
        # What a later version may write, as it is by default.
        {"hidden_act": "silu"},
    ],
)
def test_a_path_a_version_and_what_changes_no_number_do_not_count(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    plain = load_base(saved(tiny_base(), tmp_path / "plain"))
    changed = load_base(saved(tiny_base(), tmp_path / "changed", **settings))
    assert base_digest(changed) == base_digest(plain) == base_digest(tiny_base())


def test_a_base_read_in_a_wider_type_than_its_files_is_the_same(tmp_path: Path) -> None:
    folder = saved(tiny_base(dtype=torch.bfloat16), tmp_path)
    narrow, wide = load_base(folder), load_base(folder, dtype="float32")
    assert (narrow.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    assert base_digest(narrow) == base_digest(wide) != base_digest(tiny_base())


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_scales_of_quantized_weights_count(quantization: Any, base_dir: Path) -> None:
    base = load_base(str(base_dir), dtype="float32", quantization=quantization)
    expected = base_digest(base)
    assert base_digest(load_base(str(base_dir), quantization=quantization)) == expected
    weight: Any = base.get_submodule("model.layers.1.mlp.up_proj").weight
    scales = weight.quant_state.absmax if quantization == "nf4" else weight.SCB
    scales[0] += 1
    assert base_digest(base) != expected


def test_buffers_that_are_saved_count_and_others_do_not() -> None:
    base = tiny("deepseek_v3")
    expected = base_digest(base)
    rope = copy.deepcopy(base)
    rope.get_decoder().rotary_emb.inv_freq += 1
    assert base_digest(rope) == expected
    (bias,) = [b for name, b in base.named_buffers() if "e_score_correction_bias" in name]
    bias += 1
    assert base_digest(base) != expected


@BOTH
@pytest.mark.parametrize("first_row", [0, 200, 399])
def test_a_digest_sees_a_change_of_rows_anywhere(digest_of: Any, first_row: int) -> None:
    changed = tiny_base()
    embeddings: Any = changed.get_input_embeddings()
    embeddings.weight.data[first_row:] += 1e-3
    assert digest_of(changed) != digest_of(tiny_base())


@BOTH
def test_a_digest_tells_architectures_apart_and_precisions_of_other_values(digest_of: Any) -> None:
    digests = {digest_of(tiny_base(name)) for name in ("llama", "qwen2")}
    digests.add(digest_of(tiny_base(dtype=torch.bfloat16)))
    assert len(digests) == 3


def test_the_two_digests_are_told_apart_by_their_lengths() -> None:
    assert (len(base_digest(tiny_base())), len(weights_digest(tiny_base()))) == (32, 16)
