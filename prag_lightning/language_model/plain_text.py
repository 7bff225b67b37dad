"""Token ids of text that is data: nothing in it ends a turn, begins one, or thinks."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A letter, a byte, or white space as tokenizers write it.
_HARMLESS = re.compile(r".|<0x[0-9A-F]{2}>|[\s\u2581\u0120\u010a]+", re.DOTALL)


@dataclass(frozen=True)
class PlainText:
    """Reads text as plain characters, whatever a tokenizer would take its parts for.

    Added tokens, special or not, are spelled letter by letter, as are the marks of turns that are
    no tokens of their own. Added tokens of white space alone stay: they mean nothing else.

    Args:
        tokenizer: The tokenizer.
        turn_marks: What says whose turn it is in its chat template.
    """

    tokenizer: "PreTrainedTokenizerBase"
    turn_marks: tuple[str, ...] = ()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without those that begin or end one."""
        ids = []
        for number, part in enumerate(self._marks.split(text)):
            # Marks are between the parts of the rest.
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
        """Matches the marks of turns; without any, nothing."""
        longest_first = sorted(self.turn_marks, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    @cached_property
    def _added(self) -> dict[int, str]:
        """The added tokens that are more than a letter, a byte, or white space."""
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
                # Some tokenizers put a space before whatever they are given by itself.
                ids.append(token)
            else:
                ids += self.tokenizer(letter, add_special_tokens=False).input_ids
        return ids


def begin_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return what a tokenizer begins texts with; what it may end them with is left out."""
    text = "a"
    alone: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    whole: list[int] = tokenizer(text).input_ids
    starts = range(len(whole) - len(alone) + 1)
    first = next((n for n in starts if whole[n : n + len(alone)] == alone), 0)
    return whole[:first]
