"""Chats that begin with examples, and chat templates with settings."""

from collections.abc import Mapping, Sequence
from copy import copy

from transformers import PreTrainedTokenizerBase

from prag_lightning.augmentation.requests import Example
from prag_lightning.augmentation.settings import TemplateSetting


def with_chat_start(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example] = (),
    settings: Mapping[str, TemplateSetting] | None = None,
) -> PreTrainedTokenizerBase:
    """Return a tokenizer whose chats begin with examples, and whose template gets settings.

    Both stand in its chat template, before the turns that it is given. A tokenizer without a
    template is returned as it is.

    Args:
        tokenizer: It stays as it is.
        examples: Turns before the first.
        settings: Variables of the template, as ``reasoning_effort``. Whether the model thinks is
            none of them: it never does (see `chat_frame`).

    Raises:
        ValueError: If a setting's name is no name of a variable.
    """
    if tokenizer.chat_template is None:
        return tokenizer
    turns = [
        {"role": role, "content": text}
        for example in examples
        for role, text in (("user", example.user), ("assistant", example.assistant))
    ]
    lines = [f"{{% set messages = {turns!r} + messages %}}"] if turns else []
    for name, value in (settings or {}).items():
        if not name.isidentifier():
            raise ValueError(f"chat_template_kwargs: '{name}' is no name of a variable")
        lines.append(f"{{% set {name} = {value!r} %}}")
    made = copy(tokenizer)
    made.chat_template = "".join(lines) + tokenizer.get_chat_template()
    return made
