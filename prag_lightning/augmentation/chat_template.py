"""Adding examples and settings to a tokenizer's chat template."""

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
    """Return a tokenizer whose chat template begins with settings and example turns.

    A tokenizer without a template is returned unchanged.

    Args:
        tokenizer: The tokenizer, which is not modified.
        examples: Turns before the first one.
        settings: Variables of the template, such as ``reasoning_effort``. They do not include
            whether the model thinks, which is always turned off (see `chat_frame`).

    Raises:
        ValueError: If a setting's name is not a valid variable name.
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
