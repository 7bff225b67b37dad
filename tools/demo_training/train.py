"""Train the base model of the embedded world: ``python -m tools.demo_training.train``."""

import argparse
import copy
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.utils.data import DataLoader, Subset
from transformers import LlamaConfig, LlamaForCausalLM

from prag_lightning.demo.names import LAST_NAMES
from prag_lightning.demo.people import draw_world
from prag_lightning.demo.relations import WORDS
from prag_lightning.language_model.embedded import BASE_DIR
from tools.demo_training.checkpoint import restore, save
from tools.demo_training.evaluate import evaluate
from tools.demo_training.mix import MIX, TrainingSteps
from tools.demo_training.packing import ANSWER, ATTENTION, ConversationEncoder, Packed, model_inputs
from tools.demo_training.samples import Samples
from tools.demo_training.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROMPT_WEIGHT = 0.2
_WARMUP_STEPS = 200
_MOST_EARLY_STEPS = 2000


@dataclass(frozen=True)
class Settings:
    """Settings that determine the outcome of a training.

    Args:
        num_steps: Total number of optimizer steps.
        seed: Seed of the initial weights, the known people and all conversations.
        tokens_per_step: Number of tokens in every optimizer step.
        learning_rate: Peak learning rate, reached after the warm-up.
        num_known: Number of people whose facts the weights should store.
    """

    num_steps: int = 20000
    seed: int = 0
    tokens_per_step: int = 98304
    learning_rate: float = 2e-3
    num_known: int = 4000


@dataclass(frozen=True)
class Run:
    """Settings of a training that change its outcome only by rounding."""

    output_dir: Path
    checkpoint_dir: Path
    device: torch.device
    num_workers: int = 0
    compiled: bool = False
    evaluate_every: int = 500
    num_questions: int = 200


def train(settings: Settings, run: Run) -> LlamaForCausalLM:
    """Train the base model, resuming from the latest checkpoint if any, and return it.

    Raises:
        ValueError: If the checkpoint was made with other settings.
    """
    samples = Samples(draw_world("known", settings.num_known, settings.seed))
    tokenizer = build_tokenizer(tokenizer_texts(samples))
    torch.manual_seed(settings.seed)
    model = build_model(tokenizer)
    model.to(device=run.device)  # type: ignore[call-arg]
    optimizer = AdamW(
        model.parameters(), betas=(0.9, 0.98), weight_decay=0.02, fused=run.device.type == "cuda"
    )
    first = restore(run.checkpoint_dir, model, optimizer, asdict(settings))
    encoder = ConversationEncoder(tokenizer)
    num_early = min(_MOST_EARLY_STEPS, settings.num_steps // 10)
    steps = TrainingSteps(samples, encoder, settings.seed, num_early, settings.tokens_per_step)
    loader = DataLoader(
        Subset(steps, range(first, settings.num_steps)),
        batch_size=None,
        num_workers=run.num_workers,
        prefetch_factor=4 if run.num_workers else None,
    )
    backward = capture(model, steps[first].to(run.device)) if run.compiled else eager(model)
    strangers = Samples(samples.known, split="validation", spelled=0.0)
    started = time.monotonic()
    for step, packed in enumerate(loader, start=first):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings.num_steps)
        loss = backward(packed)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if done % run.evaluate_every == 0 or done == settings.num_steps:
            row = {
                "step": done,
                "loss": round(loss.item(), 4),
                "seconds": round(time.monotonic() - started, 1),
                **evaluate(model, encoder, strangers, run.num_questions),
            }
            print(json.dumps(row), flush=True)
            save(run.checkpoint_dir, model, optimizer, done, asdict(settings))
            export(model, tokenizer, run.output_dir)
    return model


def tokenizer_texts(samples: Samples) -> list[str]:
    """Return texts that contain every word of the world, as in training."""
    closed = Samples(samples.known, spelled=0.0)
    rng = random.Random(0)
    conversations = [kind.draw(closed, rng) for kind in MIX for _ in range(300)]
    said = [text for turns in conversations for turn in turns for text in turn]
    last_names = [f" {name}" for name in LAST_NAMES]
    return [*said, *last_names, *WORDS, *(f" {word}" for word in WORDS)]


def build_model(tokenizer: "PreTrainedTokenizerBase") -> LlamaForCausalLM:
    """Return the untrained base model."""
    config = LlamaConfig(
        vocab_size=64 * math.ceil(len(tokenizer) / 64),
        hidden_size=192,
        intermediate_size=640,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = ATTENTION
    return LlamaForCausalLM(config)


def rate(step: int, num_steps: int) -> float:
    """Return the factor of the peak learning rate: linear warm-up, then cosine decay to 2 %."""
    warmup = min(_WARMUP_STEPS, num_steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def loss_of(model: LlamaForCausalLM, packed: Packed) -> Tensor:
    """Return the mean loss of all tokens, with a weight of one fifth for prompts."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=packed.input_ids.is_cuda):
        hidden = model.model(**model_inputs(packed)).last_hidden_state[0, :-1]
        losses = _token_losses(hidden, model.lm_head.weight, packed.input_ids[1:])
    # The first token of a conversation is not predicted from the previous conversation.
    follows = packed.rows[1:] == packed.rows[:-1]
    weights = torch.where(packed.roles[1:] == ANSWER, 1.0, _PROMPT_WEIGHT) * follows
    return (losses * weights).sum() / weights.sum()


def _token_losses(hidden: Tensor, vocabulary: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, vocabulary).float(), targets, reduction="none")


def eager(model: LlamaForCausalLM) -> Callable[[Packed], Tensor]:
    """Return a function that computes a step's loss and gradients in eager mode."""

    def backward(packed: Packed) -> Tensor:
        model.zero_grad()
        loss = loss_of(model, packed.to(model.device))
        loss.backward()
        return loss.detach()

    return backward


def capture(model: LlamaForCausalLM, example: Packed) -> Callable[[Packed], Tensor]:
    """Return the same as ``eager``, compiled and replayed as one CUDA graph.

    Args:
        model: The model, on a CUDA device.
        example: A step on that device; later steps must have its shapes.
    """
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            loss_of(model, example).backward()
    torch.cuda.current_stream().wait_stream(stream)
    # Without gradients at its start, the graph overwrites them at every replay.
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = loss_of(model, example)
        loss.backward()

    def backward(packed: Packed) -> Tensor:
        example.copy_(packed)
        graph.replay()
        return loss.detach()

    return backward


def export(model: LlamaForCausalLM, tokenizer: "PreTrainedTokenizerBase", output_dir: Path) -> None:
    """Write the base model in bfloat16 with its tokenizer; each file is written atomically."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent) as temporary:
        rounded = copy.deepcopy(model)
        rounded.to(dtype=torch.bfloat16)  # type: ignore[call-arg]
        rounded.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for file in Path(temporary).iterdir():
            file.replace(output_dir / file.name)


def main(args: Sequence[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the base model of the embedded world.")
    parser.add_argument("--output-dir", type=Path, default=BASE_DIR)
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("checkpoints/demo"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--compiled", action="store_true", help="compile the model (CUDA)")
    parser.add_argument("--evaluate-every", type=int, default=500, help="also saves, in steps")
    for name, default in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = vars(parser.parse_args(args))
    settings = Settings(**{name: options.pop(name) for name in asdict(Settings())})
    train(settings, Run(**options | {"device": torch.device(options["device"])}))


if __name__ == "__main__":
    main()
