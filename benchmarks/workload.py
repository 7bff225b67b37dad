"""Workloads of the benchmarks: models with random weights, and documents of random words."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer, write_records
from prag_lightning.language_model.templates import PromptTemplate

SizeName = Literal["smoke", "tiny", "medium", "llama-1b"]


@dataclass(frozen=True)
class Size:
    """A model's shape, and the lengths of the documents for it.

    Args:
        hidden: Hidden size.
        layers: Decoder layers.
        intermediate: Width of the MLP.
        heads: Attention heads.
        kv_heads: Key and value heads.
        vocabulary: Size of the vocabulary.
        tied: Whether the head shares the embedding's weights.
        dtype: Data type of our methods; the published procedure uses float32.
        shortest: Words of the shortest document.
        longest: Words of the longest document.
        pad_to: Length in tokens to which the published procedure pads.
    """

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False
    dtype: torch.dtype = torch.float32
    shortest: int = 70
    longest: int = 200
    pad_to: int = 3000


SIZES: dict[SizeName, Size] = {
    "smoke": Size(32, 2, 64, 4, 2, 200, shortest=10, longest=20, pad_to=100),
    "tiny": Size(64, 2, 256, 4, 2, 2000),
    "medium": Size(512, 8, 2048, 8, 4, 2000),
    "llama-1b": Size(2048, 16, 8192, 32, 8, 128256, tied=True, dtype=torch.bfloat16),
}


def random_base(size: Size, device: torch.device, num_layers: int | None = None) -> PreTrainedModel:
    """Return a frozen language model with random weights, in the size's dtype.

    Args:
        size: Shape of the model.
        device: Device that it is made on.
        num_layers: Number of layers instead of the size's.
    """
    config = LlamaConfig(
        hidden_size=size.hidden,
        num_hidden_layers=size.layers if num_layers is None else num_layers,
        intermediate_size=size.intermediate,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        vocab_size=size.vocabulary,
        tie_word_embeddings=size.tied,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    with device:
        base: PreTrainedModel = LlamaForCausalLM(config)
    torch.set_default_dtype(default)
    base.requires_grad_(False)
    base.eval()
    return base


def write_tokenizer(size: Size, folder: Path) -> None:
    """Write a tokenizer with one token per word to ``folder``."""
    template = PromptTemplate()
    known = Whitespace().pre_tokenize_str(
        f"{template.user} {template.passage} {template.assistant} 1 2 3"
    )
    words = dict.fromkeys(["[pad]", "[end]", "[unknown]", *(word for word, _ in known), *_WORDS])
    vocabulary = {word: number for number, word in enumerate(list(words)[: size.vocabulary])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[unknown]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[pad]", eos_token="[end]", unk_token="[unknown]"
    ).save_pretrained(folder)
    # Makes it a valid folder of a base model.
    LlamaConfig(vocab_size=size.vocabulary).save_pretrained(folder)


def write_documents(size: Size, num_documents: int, folder: Path) -> None:
    """Write documents of five prompts each to ``folder``.

    Lengths are spread evenly between shortest and longest, and every second document balances the
    previous one, so that all even numbers of documents have the same mean length.
    """
    draw = random.Random(0)
    documents, augmentations = [], []
    for number in range(num_documents):
        # Multiples of the golden ratio are evenly spread for any number of documents.
        share = (number // 2 * 0.6180339887 + 0.25) % 1
        length = round((size.longest - size.shortest) * share)
        words = size.shortest + length if number % 2 else size.longest - length
        name = f"document-{number:05d}"
        documents.append(Document(id=name, text=random_text(draw, words)))
        qas = [
            QuestionAnswer(
                question=random_text(draw, 8),
                answer=random_text(draw, 2),
                full_answer=random_text(draw, 9),
            )
            for _ in range(3)
        ]
        rewrites = [random_text(draw, words)]
        augmentations.append(Augmentation(document_id=name, rewrites=rewrites, qas=qas))
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "documents.jsonl", documents)
    write_records(folder / "augmentations.jsonl", augmentations)


_WORDS = [f"w{number}" for number in range(2000)]


def random_text(draw: random.Random, words: int) -> str:
    """Return this many random words of the tokenizer."""
    return " ".join(draw.choices(_WORDS, k=words))


Prompts = list[list[int]]


def training_prompts(documents_dir: Path, tokenizer_dir: Path) -> list[Prompts]:
    """Return the token ids of every document's prompts, as made by our data module."""
    data = DocumentDataModule(str(documents_dir), base=str(tokenizer_dir))
    data.setup("fit")
    return [
        [data.encoder.encode_training(p.question, p.passages, p.answer)[0] for p in task.prompts]
        for task in data.plan.tasks
    ]


def encoding_flops(size: Size, lengths: Sequence[int], rank: int = 2) -> float:
    """Return the minimum of operations needed to encode prompts of ``lengths`` tokens.

    These are the forward pass, and the backward pass through activations: frozen weights need no
    gradients, nor does anything below the first layer's adapters. A multiply-add counts as two.
    """
    kv_size = size.hidden // size.heads * size.kv_heads
    attention = 2 * size.hidden * size.hidden + 2 * size.hidden * kv_size
    mlp = size.hidden * size.intermediate
    layer = attention + 3 * mlp
    adapter = size.layers * 3 * rank * (size.hidden + size.intermediate)
    first_inputs = 2 * (attention + 2 * mlp) + 4 * rank * size.hidden
    a_token = 4 * size.layers * layer + 6 * adapter - first_inputs
    head = 4 * size.hidden * size.vocabulary
    # Causal attention needs half of the products of queries, keys and values.
    a_token_pair = 6 * size.hidden * size.layers
    return sum(n * a_token + (n - 1) * head + n * n * a_token_pair for n in lengths)
