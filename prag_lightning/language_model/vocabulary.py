"""Checking that a base model has an embedding for every token in its prompts."""

from typing import Any

from transformers import PreTrainedModel

from prag_lightning.language_model.prompts import PromptEncoder


def check_vocabulary(base: PreTrainedModel, encoder: PromptEncoder) -> None:
    """Check that a tokenizer fits a base model.

    Args:
        base: The language model.
        encoder: The prompt encoder, with its tokenizer.

    Raises:
        ValueError: If prompts can contain tokens without an embedding.
    """
    tokenizer = encoder.tokenizer
    embeddings: Any = base.get_input_embeddings()
    num_embeddings = len(embeddings.weight)
    whose = f"the tokenizer of {tokenizer.name_or_path or 'the base'}"
    if tokenizer.vocab_size > num_embeddings:
        raise ValueError(
            f"{whose} has {tokenizer.vocab_size:,} tokens, but {type(base).__name__} reads "
            f"{num_embeddings:,}; use the base's own tokenizer"
        )
    # Prompts contain no other added tokens, because those in documents are spelled out.
    for token in encoder.fixed_ids:
        if token >= num_embeddings:
            raise ValueError(
                f"{whose} puts {tokenizer.convert_ids_to_tokens(token)!r}, token {token}, into "
                f"every prompt, but {type(base).__name__} reads {num_embeddings:,} tokens; use "
                "the base's own tokenizer"
            )
