"""Small models and tokenizers, built in memory."""

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import HealthCheck, settings
from lightning.pytorch.utilities import rank_zero_only
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

# Models this small are faster on one thread, and tests on several workers do not get in the way.
torch.set_num_threads(1)

# Slow draws say that the machine is busy, not that a test is wrong.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_LONG_FILES = (
    "test_smollm2.py",
    "test_per_document.py",
    "test_interruptions.py",
    "test_disks.py",
    "test_python_api.py",
    "test_report.py",
)
_HANDLERS = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

_TEXTS = [
    "You should answer the question by referring to the knowledge provided below and integrating "
    "your own knowledge.\nPassage 1: Ada was born in Paris.\n\nQuestion: Where was Ada born?",
    "The answer is Paris.",
]
_CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_base(architecture: str = "llama", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return a small random language model of 2 layers."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    if architecture == "llama":
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**sizes))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**sizes))
    model.to(dtype=dtype)  # type: ignore[call-arg]
    model.eval()
    return model


def tiny_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of fewer than 400 tokens."""
    bpe = ByteLevelBPETokenizer()
    special = ["<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"]
    bpe.train_from_iterator(_TEXTS, vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = _CHAT if chat else None
    return tokenizer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process waits for one at the end."""
    items.sort(key=lambda item: item.path.name not in _LONG_FILES)


@pytest.fixture(autouse=True)
def process_as_at_first() -> Iterator[None]:
    """What a Trainer sets for the whole process, set back for the tests that follow in it."""
    yield
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    for signum, handler in _HANDLERS.items():
        signal.signal(signum, handler)


def quiet_trainer(folder: Path, *callbacks: L.Callback) -> L.Trainer:
    """A Trainer for one epoch on a CPU that shows and logs nothing."""
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random base model with its tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tiny_base().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Makes processes that have imported everything: a fit then begins within a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prag_lightning.cli.trainer", "prag_lightning.demo.world"])
    return context
