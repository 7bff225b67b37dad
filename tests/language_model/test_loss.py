from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from prag_lightning.language_model.logits import Head
from prag_lightning.language_model.loss import token_divergence, token_nll


def problem(
    tokens: int,
    vocabulary: int,
    dtype: torch.dtype,
    bias: bool = False,
    scale: float = 1.0,
    cap: float | None = None,
) -> tuple[Tensor, Head, Tensor]:
    """Hidden states, a frozen head and targets, seeded."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, 16, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, 16, generator=generator).to(dtype)
    head_bias = torch.randn(vocabulary, generator=generator).to(dtype) if bias else None
    head = Head(weight, head_bias, scale, cap)
    return hidden, head, torch.randint(0, vocabulary, (tokens,), generator=generator)


def peak_memory(run: Callable[[], None]) -> int:
    """The most bytes that ``run()`` holds at once, counted by PyTorch's own allocator events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    changes: list[tuple[int, int]] = sorted(
        (e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"
    )
    return max(accumulate(num_bytes for _, num_bytes in changes))


# In bytes of float64 logits over 37 tokens: less than a token's, one's, five tokens', a number
# that does not divide, all of them, the default.
@pytest.mark.parametrize("chunk_bytes", [1, 400, 2000, 37 * 400 - 1, 37 * 400, None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.125, None), (1.0, 3.0), (2.0, 5.0)])
def test_losses_and_gradients_equal_cross_entropy_for_any_chunk(
    chunk_bytes: int | None, bias: bool, scale: float, cap: float | None
) -> None:
    hidden, head, targets = problem(37, 50, torch.float64, bias, scale, cap)
    weights = torch.linspace(-1, 2, 37, dtype=torch.float64)
    found = token_nll(hidden, head, targets, chunk_bytes)
    (grad,) = torch.autograd.grad(found @ weights, hidden)
    logits = nn.functional.linear(hidden, head.weight, head.bias) * scale
    if cap is not None:
        logits = cap * (logits / cap).tanh()
    expected = nn.functional.cross_entropy(logits, targets, reduction="none")
    (expected_grad,) = torch.autograd.grad(expected @ weights, hidden)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-12)
    assert grad.abs().max() > 0.05


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
def test_lower_precisions_give_float32_losses_and_gradients_of_their_own(
    dtype: torch.dtype, tolerance: float
) -> None:
    hidden, head, targets = problem(37, 50, dtype)
    found = token_nll(hidden, head, targets)
    (grad,) = torch.autograd.grad(found.sum(), hidden)
    wide = hidden.detach().double().requires_grad_()
    logits = wide @ head.weight.double().T
    expected = nn.functional.cross_entropy(logits, targets, reduction="none")
    (expected_grad,) = torch.autograd.grad(expected.sum(), wide)
    assert (found.dtype, grad.dtype) == (torch.float32, dtype)
    assert (found - expected).norm() < tolerance * expected.norm()
    assert (grad - expected_grad).norm() < tolerance * expected_grad.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_gradient_of_float32_states_is_close_to_the_exact_one(
    dtype: torch.dtype,
) -> None:
    hidden, head, targets = problem(37, 50, torch.float32, bias=True)
    with torch.autocast("cpu", dtype):
        found = token_nll(hidden, head, targets)
    (grad,) = torch.autograd.grad(found.sum(), hidden)
    logits = nn.functional.linear(hidden, head.weight, head.bias)
    expected = nn.functional.cross_entropy(logits, targets, reduction="none")
    (expected_grad,) = torch.autograd.grad(expected.sum(), hidden)
    assert (found.dtype, grad.dtype) == (torch.float32, torch.float32)
    assert (grad - expected_grad).norm() < 0.02 * expected_grad.norm()
    # It did run in the lower precision.
    assert (found - expected).abs().max() > 1e-5


def test_a_head_in_another_precision_than_its_states_is_read_in_theirs() -> None:
    hidden, head, targets = problem(5, 50, torch.bfloat16, bias=True)
    expected = token_nll(hidden, head, targets)
    assert head.bias is not None
    wide = Head(head.weight.float(), head.bias.float())
    assert torch.equal(token_nll(hidden, wide, targets), expected)


def test_a_token_that_is_not_finite_leaves_the_others_in_its_chunk_as_they_are() -> None:
    hidden, head, targets = problem(9, 50, torch.float32)
    (expected,) = torch.autograd.grad(token_nll(hidden, head, targets).sum(), hidden)
    broken = hidden.detach().clone()
    broken[4] = float("nan")
    broken.requires_grad_()
    losses = token_nll(broken, head, targets)
    (grad,) = torch.autograd.grad(losses.sum(), broken)
    others = torch.arange(9) != 4
    assert torch.equal(losses[others], token_nll(hidden, head, targets)[others])
    assert torch.equal(grad[others], expected[others])
    assert losses[4].isnan()
    assert grad[4].isnan().all()


def test_no_token_has_no_loss() -> None:
    hidden, head, targets = problem(3, 50, torch.float32)
    losses = token_nll(hidden[:0], head, targets[:0])
    assert losses.shape == (0,)
    losses.sum().backward()
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_memory_is_that_of_a_few_chunks_and_not_of_all_logits() -> None:
    tokens, vocabulary, chunk_bytes = 256, 20_000, 2**20
    hidden, head, targets = problem(tokens, vocabulary, torch.float32)
    all_logits = tokens * vocabulary * 4

    def chunked() -> None:
        token_nll(hidden, head, targets, chunk_bytes).sum().backward()

    def whole() -> None:
        nn.functional.cross_entropy(hidden @ head.weight.T, targets).backward()

    assert peak_memory(whole) >= 2 * all_logits
    assert peak_memory(chunked) < 4 * chunk_bytes < all_logits / 4


@torch.no_grad()
def test_without_gradients_no_gradient_is_made() -> None:
    hidden, head, targets = problem(64, 2000, torch.float32)
    losses = token_nll(hidden.detach(), head, targets)
    assert not losses.requires_grad
    assert losses.shape == (64,)


@pytest.mark.parametrize("chunk_bytes", [1, 2000, None])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.125, None), (2.0, 5.0)])
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (2.0, None), (0.5, 6), (1.0, 99)])
def test_divergences_and_gradients_equal_torch_s_for_any_chunk(
    chunk_bytes: int | None,
    scale: float,
    cap: float | None,
    temperature: float,
    top_k: int | None,
) -> None:
    hidden, head, _ = problem(37, 50, torch.float64, True, scale, cap)
    teacher = hidden.detach().roll(1, dims=0)
    weights = torch.linspace(-1, 2, 37, dtype=torch.float64)
    found = token_divergence(
        hidden, teacher, head, temperature=temperature, top_k=top_k, chunk_bytes=chunk_bytes
    )
    (grad,) = torch.autograd.grad(found @ weights, hidden)
    p = (head.logits(teacher) / temperature).softmax(-1)
    if top_k is not None and top_k < 50:
        kept = torch.zeros_like(p).scatter_(1, p.topk(top_k).indices, 1.0)
        p = p * kept / (p * kept).sum(-1, keepdim=True)
    log_q = (head.logits(hidden) / temperature).log_softmax(-1)
    expected = temperature**2 * nn.functional.kl_div(log_q, p, reduction="none").sum(-1)
    (expected_grad,) = torch.autograd.grad(expected @ weights, hidden)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-12)
