from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from prag_lightning.language_model.attention import SEGMENTED, segmented_attention
from prag_lightning.language_model.logits import last_hidden_states
from tests.conftest import tiny_base

LENGTHS = (5, 1, 8, 3)


def random_heads(num_heads: int, tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, num_heads, tokens, 8, generator=generator, dtype=torch.float64)


def layer(num_groups: int = 1) -> nn.Module:
    """What transformers passes to an attention function: query heads share keys in groups."""
    module = nn.Module()
    module.num_key_value_groups = num_groups  # type: ignore[assignment]
    return module


def by_hand(query: Tensor, key: Tensor, value: Tensor, window: int | None = None) -> Tensor:
    """Causal attention written out, token by token; shape ``(1, tokens, heads, head_dim)``."""
    outputs = []
    for last in range(query.shape[2]):
        first = 0 if window is None else max(0, last - window + 1)
        scores = query[:, :, last : last + 1] @ key[:, :, first : last + 1].transpose(2, 3)
        weights = (scores / query.shape[-1] ** 0.5).softmax(-1)
        outputs.append(weights @ value[:, :, first : last + 1])
    return torch.cat(outputs, dim=2).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 1, 3, 8, 100])
@pytest.mark.parametrize("num_groups", [1, 2])
def test_each_segment_attends_causally_to_itself_alone(window: int | None, num_groups: int) -> None:
    query = random_heads(4, sum(LENGTHS), 0)
    key, value = (random_heads(4 // num_groups, sum(LENGTHS), seed) for seed in (1, 2))
    found, _ = segmented_attention(
        layer(num_groups), query, key, value, None, LENGTHS, sliding_window=window
    )
    bounds = torch.tensor(LENGTHS).cumsum(0)[:-1]
    key, value = (t.repeat_interleave(num_groups, dim=1) for t in (key, value))
    split = zip(*(t.tensor_split(bounds, dim=2) for t in (query, key, value)), strict=True)
    parts = [by_hand(q, k, v, window) for q, k, v in split]
    torch.testing.assert_close(found, torch.cat(parts, dim=1))
    assert not torch.allclose(found, by_hand(query, key, value, window)) or window == 1


def test_without_segments_every_row_attends_to_itself() -> None:
    rows = ([random_heads(4, 6, seed), random_heads(4, 6, seed + 9)] for seed in (0, 1, 2))
    query, key, value = (torch.cat(row) for row in rows)
    found, weights = segmented_attention(layer(), query, key, value, None)
    for row in range(2):
        part = slice(row, row + 1)
        torch.testing.assert_close(found[part], by_hand(query[part], key[part], value[part]))
    assert weights is None


def test_a_window_as_wide_as_a_segment_changes_nothing() -> None:
    query, key, value = (random_heads(4, 8, seed) for seed in (0, 1, 2))
    whole, _ = segmented_attention(layer(), query, key, value, None)
    wide, _ = segmented_attention(layer(), query, key, value, None, sliding_window=8)
    narrow, _ = segmented_attention(layer(), query, key, value, None, sliding_window=7)
    assert torch.equal(wide, whole)
    torch.testing.assert_close(narrow[:, :7], whole[:, :7])
    assert not torch.allclose(narrow[:, 7], whole[:, 7])


def test_segments_that_are_not_the_row_s_tokens_are_refused() -> None:
    query, key, value = (random_heads(4, 8, seed) for seed in (0, 1, 2))
    with pytest.raises(RuntimeError, match="split_sizes"):
        segmented_attention(layer(), query, key, value, None, (5, 4))


def sliding_base() -> PreTrainedModel:
    """A small model in which a token sees four tokens."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=4,
    )
    model: PreTrainedModel = MistralForCausalLM(config).eval()
    return model


def prompts(lengths: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 400, (length,), generator=generator) for length in lengths]


def packed_states(base: PreTrainedModel, texts: Sequence[Tensor]) -> list[Tensor]:
    """Last hidden states of texts behind each other in one row."""
    base.set_attn_implementation(SEGMENTED)
    lengths = tuple(len(text) for text in texts)
    positions = torch.cat([torch.arange(length) for length in lengths])
    states = last_hidden_states(base, torch.cat(list(texts))[None], positions[None], lengths)
    return list(states[0].split(lengths))


def padded_states(base: PreTrainedModel, texts: Sequence[Tensor], padding: int) -> list[Tensor]:
    """Last hidden states of texts in rows padded at the right, without those of the padding."""
    base.set_attn_implementation(SEGMENTED)
    ids = nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=padding)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    states = last_hidden_states(base, ids, positions)
    return [row[: len(text)] for row, text in zip(states, texts, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "qwen2", "sliding"])
def test_packed_and_padded_prompts_read_as_each_alone_with_eager_attention(name: str) -> None:
    base = sliding_base().double() if name == "sliding" else tiny_base(name, torch.float64)
    texts = prompts(LENGTHS)
    base.set_attn_implementation("eager")
    alone = [base.get_decoder()(input_ids=text[None]).last_hidden_state[0] for text in texts]
    # Both layers' norms and eager's softmax are in float32, whatever the model is in.
    torch.testing.assert_close(packed_states(base, texts), alone, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(padded_states(base, texts, 0), alone, rtol=2e-6, atol=2e-6)


@torch.no_grad()
def test_what_the_padding_is_changes_no_token_before_it() -> None:
    base, texts = tiny_base(), prompts(LENGTHS)
    zeros, others = (padded_states(base, texts, padding) for padding in (0, 399))
    for first, second in zip(zeros, others, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("place", [0, 2])
def test_a_number_that_is_none_stays_in_its_segment_forwards_and_backwards(place: int) -> None:
    base, texts = tiny_base(), prompts(LENGTHS)
    base.set_attn_implementation(SEGMENTED)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]

    def run(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        embeddings.requires_grad_()
        states = base.get_decoder()(
            inputs_embeds=embeddings,
            position_ids=positions,
            use_cache=False,
            segment_lengths=LENGTHS,
        ).last_hidden_state
        (grad,) = torch.autograd.grad(states.square().sum(), embeddings)
        return states[0].detach(), grad[0]

    clean = base.get_input_embeddings()(torch.cat(texts))[None].detach()
    start = sum(LENGTHS[:place])
    broken = clean.clone()
    broken[0, start] = float("nan")
    others = torch.ones(sum(LENGTHS), dtype=torch.bool)
    others[start : start + LENGTHS[place]] = False
    for expected, found in zip(run(clean), run(broken), strict=True):
        assert torch.equal(found[others], expected[others])
        assert found[~others].isnan().all()


def test_attention_in_16_bits_on_a_cpu_is_computed_in_float32_and_nearer_to_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, 4, 60, 16, generator=generator).bfloat16().requires_grad_() for _ in range(3)
    )
    exact = query.double(), key.double(), value.double()
    expected, _ = segmented_attention(torch.nn.Module(), *exact, None, (20, 40))
    found, _ = segmented_attention(torch.nn.Module(), query, key, value, None, (20, 40))
    with torch.autocast("cpu", torch.bfloat16):
        # What autocast asks for is left as it is.
        plain, _ = segmented_attention(torch.nn.Module(), query, key, value, None, (20, 40))
    errors = [(one.double() - expected).norm().item() for one in (found, plain)]
    assert 0 < errors[0] < 0.95 * errors[1]
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    assert query.grad is not None
    assert query.grad.dtype == torch.bfloat16
