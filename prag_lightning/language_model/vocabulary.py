"""Whether a base model has an embedding for every token that its prompts can hold."""

from typing import Any

from transformers import PreTrainedModel

from prag_lightning.language_model.prompts import PromptEncoder


def check_vocabulary(base: PreTrainedModel, encoder: PromptEncoder) -> None:
    """Check that a tokenizer is a base's own, or one that it can read.

    Args:
        base: The language model.
        encoder: Makes its prompts.

    Raises:
        ValueError: If the tokenizer has tokens that the base has no embedding for.
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
    # Of added tokens, these are all that prompts hold: in a document they are spelled.
    for token in encoder.fixed_ids:
        if token >= num_embeddings:
            raise ValueError(
                f"{whose} puts {tokenizer.convert_ids_to_tokens(token)!r}, token {token}, into "
                f"every prompt, but {type(base).__name__} reads {num_embeddings:,} tokens; use "
                "the base's own tokenizer"
            )
