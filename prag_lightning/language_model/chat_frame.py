"""What a tokenizer's chat template puts around the user's words."""

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from prag_lightning.language_model.chat_rendering import render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\u2403user\u2403"
_OTHER = "use a tokenizer with another template, or with none"
# Where a template can be told that the assistant does not think before it answers.
_UNTHINKING = {"enable_thinking": False, "thinking": False}
# Where it cannot: how thoughts begin, and how they end, with the same word.
_THOUGHT = re.compile(r"<([\w:]*think\w*)>|\[(THINK)\]|<\|START_(THINKING)\|>")
_THOUGHT_ENDS = ("</{}>", "[/{}]", "<|END_{}|>")
# Words of a template that say whose turn it is, in brackets of some kind or by a role's name.
_ROLE = re.compile(
    r"\S*[<>\[\]{}|]\S*|(?:user|human|system|assistant|bot|ai|instruction|response):",
    re.IGNORECASE,
)


class ChatFrame(NamedTuple):
    """What a chat template puts around the user's words.

    Args:
        head: The text before them.
        tail: The text behind them; the assistant's words come next.
    """

    head: str
    tail: str

    def turn_marks(self, tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
        """Return the words that say whose turn it is, but for those with tokens of their own."""
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
    """Return what a tokenizer's chat template puts around the user's words.

    Without a template that is nothing, and a line break.

    The assistant does not think: where a template begins a thought, it is ended.

    Raises:
        ValueError: If the chat template fails, does not end, or does not say the user's words once.
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
    """Return the start of the assistant's turn with a thought that it begins ended."""
    *_, last = [None, *_THOUGHT.finditer(tail)]
    if last is None:
        return tail
    (end,) = [
        end.format(word)
        for end, word in zip(_THOUGHT_ENDS, last.groups(), strict=True)
        if word is not None
    ]
    return tail if end in tail[last.end() :] else f"{tail.rstrip()}\n\n{end}\n\n"
