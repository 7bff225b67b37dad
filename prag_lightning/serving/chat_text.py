"""Trims the text of an answer while it grows, and counts its tokens."""

from functools import cached_property

from prag_lightning.language_model.prompts import PromptEncoder


class ChatText:
    """The text of an answer that arrives in pieces, without white space around it.

    Args:
        encoder: Counts tokens.
        max_tokens: Longest text, in tokens; None for any.
    """

    def __init__(self, encoder: PromptEncoder, max_tokens: int | None) -> None:
        self._encoder = encoder
        self._max_tokens = max_tokens
        self._held = ""
        self.text = ""
        self.is_cut = False

    def add(self, piece: str) -> str:
        """Return what is said after a further piece; white space waits for what follows it."""
        if self.is_cut:
            return ""
        whole = (self.text + self._held + piece).lstrip()
        body = whole.rstrip()
        self._held = whole[len(body) :]
        return self._grow(body)

    @cached_property
    def num_tokens(self) -> int:
        """How many tokens the text has; asked for when it is whole."""
        return len(self._ids(self.text))

    def _grow(self, text: str) -> str:
        ids = [] if self._max_tokens is None else self._ids(text)
        if self._max_tokens is not None and len(ids) > self._max_tokens:
            self.is_cut = True
            cut = self._encoder.tokenizer.decode(ids[: self._max_tokens])
            assert isinstance(cut, str)
            # A tokenizer need not give the very text back.
            text = cut if text.startswith(cut) else self.text
        piece = text[len(self.text) :]
        self.text += piece
        return piece

    def _ids(self, text: str) -> list[int]:
        # What looks like a special token is text.
        tokens = self._encoder.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        ids: list[int] = tokens.input_ids
        return ids
