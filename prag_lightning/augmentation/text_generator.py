"""A local language model that answers batches of requests."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from prag_lightning.augmentation.chat_template import with_chat_start
from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.repetition import EndlessRepetition
from prag_lightning.augmentation.requests import Example, Reply, Request
from prag_lightning.augmentation.seeded_sampling import seeded_sampling
from prag_lightning.augmentation.settings import Sampling, TemplateSetting
from prag_lightning.augmentation.thoughts import END_MARKS, START_MARKS
from prag_lightning.language_model.base_model import end_token_ids
from prag_lightning.language_model.positions import prompt_limit
from prag_lightning.language_model.prompts import PADDING, PromptEncoder


class TextGenerator:
    """Answers requests in batches; each answer is what the request would get alone.

    This holds up to the rounding of the model's arithmetic, which depends on the batch: tokens
    almost never differ in float32, and occasionally in bfloat16. The model's own generation config
    is ignored, except for the tokens that end an answer.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        sampling: Sampling settings.
        template_settings: Variables of the chat template, such as ``reasoning_effort``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        template_settings: Mapping[str, TemplateSetting] | None = None,
    ) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._end_ids = end_token_ids(model, tokenizer)
        config = model.config.get_text_config()
        limits = getattr(config, "max_position_embeddings", None), prompt_limit(model)[0]
        self._most_tokens = min((limit for limit in limits if limit is not None), default=None)
        marks = "".join(START_MARKS + END_MARKS)
        added = cast(Any, tokenizer).added_tokens_decoder.values()
        special = (str(token) for token in added if token.special)
        # Thought markers are kept in the answer, and removed later.
        self._silent_tokens = [token for token in special if token not in marks]

        @lru_cache(maxsize=64)
        def encoder(examples: tuple[Example, ...]) -> PromptEncoder:
            return PromptEncoder(with_chat_start(tokenizer, examples, template_settings))

        self._encoder = encoder

    def to(self, device: str) -> "TextGenerator":
        """Move the model to a device, and return this generator."""
        cast(Any, self.model).to(device)
        return self

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the reply to each request."""
        replies: dict[int, Reply] = {}
        for is_short in (True, False):
            indices = [n for n, request in enumerate(requests) if request.is_short == is_short]
            asked = [requests[index] for index in indices]
            limit = self._sampling.most_tokens(is_short)
            replies.update(zip(indices, self._answer(asked, limit), strict=True))
        return [replies[index] for index in range(len(requests))]

    def _answer(self, requests: Sequence[Request], limit: int) -> list[Reply]:
        prompts = [self._encode(request) for request in requests]
        most = self._most_tokens
        replies = [
            Reply(
                text="",
                usage=Usage(),
                problem=f"a prompt of {len(prompt)} tokens, which leaves no room for "
                f"{limit} new ones of the model's {most}",
            )
            for prompt in prompts
        ]
        fitting = [n for n, ids in enumerate(prompts) if most is None or len(ids) + limit <= most]
        seeds = [requests[index].seed for index in fitting]
        answers = self._generate([prompts[index] for index in fitting], seeds, limit)
        for index, (tokens, is_cut) in zip(fitting, answers, strict=True):
            usage = Usage(1, len(prompts[index]), len(tokens))
            replies[index] = Reply(self._decode(tokens), usage, is_cut)
        return replies

    def _encode(self, request: Request) -> list[int]:
        if self._tokenizer.chat_template is not None:
            return self._encoder(request.examples).encode_user_text(request.prompt)
        turns = [f"{example.user}\n{example.assistant}\n\n" for example in request.examples]
        return self._encoder(()).encode_user_text("".join(turns) + request.prompt)

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], limit: int
    ) -> list[tuple[list[int], bool]]:
        """Return the new tokens of each prompt up to their end, and whether they were cut off."""
        if not prompts:
            return []
        input_ids, attention_mask = self._pad_left(prompts)
        start = input_ids.shape[1]
        repetition = EndlessRepetition(start)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=self._end_ids or None,
            pad_token_id=PADDING,
        )
        with _neutral_generation(self.model):
            generated = cast(Any, self.model).generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=config,
                logits_processor=seeded_sampling(self._sampling, limit, seeds, start),
                stopping_criteria=StoppingCriteriaList([repetition]),
            )
        rows: list[list[int]] = generated[:, start:].tolist()
        return [self._up_to_end(row, repetition.lengths.get(n)) for n, row in enumerate(rows)]

    def _up_to_end(self, tokens: list[int], repeated_from: int | None) -> tuple[list[int], bool]:
        tokens = tokens[:repeated_from]
        end = next((n for n, token in enumerate(tokens) if token in self._end_ids), None)
        return (tokens, True) if end is None else (tokens[: end + 1], False)

    def _pad_left(self, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask, both of shape ``(rows, tokens)``."""
        width = max(map(len, prompts))
        ids = [[PADDING] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _decode(self, tokens: list[int]) -> str:
        said = tokens[:-1] if tokens and tokens[-1] in self._end_ids else tokens
        text = cast(str, self._tokenizer.decode(said, skip_special_tokens=False))
        for token in self._silent_tokens:
            text = text.replace(token, "")
        return text


@contextmanager
def _neutral_generation(model: PreTrainedModel) -> Iterator[None]:
    """Temporarily remove the model's own generation config.

    Otherwise transformers uses it for options that our config leaves open, such as a repetition
    penalty or a minimum length.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
