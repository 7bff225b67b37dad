"""A local language model that answers a batch of requests."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from prag_lightning.augmentation.draft import Reply, Request, Usage
from prag_lightning.augmentation.seeded_sampling import seeded_sampling
from prag_lightning.augmentation.settings import Sampling
from prag_lightning.language_model.base_model import end_token_ids
from prag_lightning.language_model.prompts import PADDING, PromptEncoder


class TextGenerator:
    """Answers requests together; each answer is what the request would get alone.

    That is exact up to the rounding of the model's arithmetic, which depends on the batch: next to
    never another token in float32, now and then one in bfloat16.

    Args:
        model: A causal language model. What ``sampling`` does not say, as ``top_p``, comes from
            its generation config.
        tokenizer: Its tokenizer.
        sampling: How answers are drawn.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encoder = PromptEncoder(tokenizer)
        self._sampling = sampling
        self._end_ids = end_token_ids(model, tokenizer)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the reply to each request."""
        prompts = [self._encoder.encode_user_text(request.prompt) for request in requests]
        room = self._model.config.get_text_config().max_position_embeddings
        room -= self._sampling.max_new_tokens
        fitting = [index for index, prompt in enumerate(prompts) if len(prompt) <= room]
        new_tokens = self._generate(
            [prompts[index] for index in fitting], [requests[index].seed for index in fitting]
        )
        replies = [
            Reply(
                text="",
                usage=Usage(),
                problem=f"a prompt of {len(prompt)} tokens, which leaves no room for "
                f"max_new_tokens {self._sampling.max_new_tokens} of the model's "
                f"{room + self._sampling.max_new_tokens}",
            )
            for prompt in prompts
        ]
        for index, tokens in zip(fitting, new_tokens, strict=True):
            replies[index] = self._reply(len(prompts[index]), tokens)
        return replies

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[list[int]]:
        """Return the new tokens of each prompt, those after its end included."""
        if not prompts:
            return []
        input_ids, attention_mask = self._pad_left(prompts)
        start = input_ids.shape[1]
        given = self._model.generation_config
        generated = cast(Any, self._model).generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=self._greedy_config(),
            logits_processor=seeded_sampling(self._sampling, given.top_p, seeds, start),
        )
        new_tokens: list[list[int]] = generated[:, start:].tolist()
        return new_tokens

    def _greedy_config(self) -> GenerationConfig:
        """Return a config in which the logits processors alone decide."""
        return GenerationConfig(
            do_sample=False,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            max_new_tokens=self._sampling.max_new_tokens,
            eos_token_id=self._end_ids,
            pad_token_id=PADDING,
        )

    def _pad_left(self, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask, each of shape ``(rows, tokens)``."""
        width = max(map(len, prompts))
        ids = [[PADDING] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _reply(self, num_prompt_tokens: int, tokens: list[int]) -> Reply:
        length = next((n for n, token in enumerate(tokens) if token in self._end_ids), None)
        text = cast(str, self._tokenizer.decode(tokens[:length], skip_special_tokens=True))
        num_new_tokens = len(tokens) if length is None else length + 1
        return Reply(
            text=text,
            usage=Usage(1, num_prompt_tokens, num_new_tokens),
            is_cut=length is None,
        )
