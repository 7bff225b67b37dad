"""Tokenizing untrusted text such that it contains no turn markers or other special tokens."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A character, a byte, or white space as tokenizers represent it.
_HARMLESS = re.compile(r".|<0x[0-9A-F]{2}>|[\s\u2581\u0120\u010a]+", re.DOTALL)


@dataclass(frozen=True)
class PlainText:
    """Tokenizes text as plain characters, even if parts of it look like special tokens.

    Added tokens, special or not, are spelled out character by character, and so are turn markers
    that are not tokens. Added tokens that consist of white space are kept, as they are harmless.

    Args:
        tokenizer: The tokenizer.
        turn_marks: Turn markers in its chat template.
    """

    tokenizer: "PreTrainedTokenizerBase"
    turn_marks: tuple[str, ...] = ()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without start and end tokens."""
        ids = []
        for number, part in enumerate(self._marks.split(text)):
            # Every second part is a marker.
            ids += self._spell(part) if number % 2 else self._encode_part(part)
        return ids

    def _encode_part(self, text: str) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        added = self._added
        return [
            plain
            for token in ids
            for plain in (self._spell(added[token]) if token in added else (token,))
        ]

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        """Pattern that matches turn markers; nothing if there are none."""
        longest_first = sorted(self.turn_marks, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    @cached_property
    def _added(self) -> dict[int, str]:
        """Added tokens other than single characters, bytes and white space."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {
            token: content.content
            for token, content in added
            if token != self.tokenizer.unk_token_id and not _HARMLESS.fullmatch(content.content)
        }

    def _spell(self, text: str) -> list[int]:
        ids = []
        for letter in text:
            token = self.tokenizer.convert_tokens_to_ids(letter)
            if isinstance(token, int) and token != self.tokenizer.unk_token_id:
                # Some tokenizers prepend a space to any text.
                ids.append(token)
            else:
                ids += self.tokenizer(letter, add_special_tokens=False).input_ids
        return ids


def begin_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the tokens that a tokenizer puts before texts, without those it puts after them."""
    text = "a"
    alone: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    whole: list[int] = tokenizer(text).input_ids
    starts = range(len(whole) - len(alone) + 1)
    first = next((n for n in starts if whole[n : n + len(alone)] == alone), 0)
    return whole[:first]
