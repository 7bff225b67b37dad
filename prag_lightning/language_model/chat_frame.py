"""The text that a tokenizer's chat template puts around the user's message."""

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from prag_lightning.language_model.chat_rendering import render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\u2403user\u2403"
_OTHER = "use a tokenizer with another template, or with none"
# Arguments that tell a template to turn off the assistant's thinking.
_UNTHINKING = {"enable_thinking": False, "thinking": False}
# Markers that begin and end a thought in other templates, with the same word in both.
_THOUGHT = re.compile(r"<([\w:]*think\w*)>|\[(THINK)\]|<\|START_(THINKING)\|>")
_THOUGHT_ENDS = ("</{}>", "[/{}]", "<|END_{}|>")
# Words of a template that mark turns, by brackets or by a role's name.
_ROLE = re.compile(
    r"\S*[<>\[\]{}|]\S*|(?:user|human|system|assistant|bot|ai|instruction|response):",
    re.IGNORECASE,
)


class ChatFrame(NamedTuple):
    """The text that a chat template puts around the user's message.

    Args:
        head: The text before the message.
        tail: The text after the message, up to the assistant's message.
    """

    head: str
    tail: str

    def turn_marks(self, tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
        """Return the words that mark turns, except those that are tokens of their own."""
        added = tokenizer.added_tokens_encoder
        words = {*self.head.split()[-1:], *self.tail.split()}
        return tuple(
            sorted(
                word
                for word in words
                if _ROLE.fullmatch(word) and not any(token in word for token in added)
            )
        )


def chat_frame(tokenizer: "PreTrainedTokenizerBase") -> ChatFrame:
    """Return the text that a tokenizer's chat template puts around the user's message.

    Without a template, that is nothing before it and a line break after it.

    Thinking is turned off; if the template begins a thought, it is closed.

    Raises:
        ValueError: If the template fails, takes too long, or does not contain the message once.
    """
    if tokenizer.chat_template is None:
        return ChatFrame("", "\n")
    variables = {
        **{name: _text(token) for name, token in tokenizer.special_tokens_map.items()},
        "messages": [{"role": "user", "content": _MARK}],
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
        **_UNTHINKING,
    }
    whose = f"the chat template of {tokenizer.name_or_path or 'the tokenizer'}"
    try:
        text = render_chat(tokenizer.get_chat_template(), json.dumps(variables))
    except ValueError as error:
        raise ValueError(f"{whose} {error}; {_OTHER}") from error
    count = text.count(_MARK)
    if count != 1:
        how = f"says the user's words {count} times" if count else "leaves the user's words out"
        raise ValueError(f"{whose} {how}; {_OTHER}")
    head, _, tail = text.partition(_MARK)
    return ChatFrame(head, _without_thought(tail))


def _text(token: object) -> object:
    return [str(part) for part in token] if isinstance(token, list) else str(token)


def _without_thought(tail: str) -> str:
    """Return the start of the assistant's turn, closing a thought that it begins."""
    *_, last = [None, *_THOUGHT.finditer(tail)]
    if last is None:
        return tail
    (end,) = [
        end.format(word)
        for end, word in zip(_THOUGHT_ENDS, last.groups(), strict=True)
        if word is not None
    ]
    return tail if end in tail[last.end() :] else f"{tail.rstrip()}\n\n{end}\n\n"
