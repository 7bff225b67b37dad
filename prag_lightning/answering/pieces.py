"""Text pieces of an answer while its tokens are generated."""

import re

from transformers import PreTrainedTokenizerBase

# A token that is one byte of a character, in tokenizers that fall back on bytes.
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_INCOMPLETE = "\ufffd"


class TextPieces:
    """Decodes tokens one by one into pieces that, put together, are the text of all tokens.

    Text that further tokens may still change is held back: an incomplete character, and with
    tokenizers that remove spaces before punctuation, the last word.

    Args:
        tokenizer: The tokenizer of the model that generates the tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._said = ""

    def restart(self) -> None:
        """Expect all tokens from the first on once more; what was said is not said again."""
        self._ids = []

    def add(self, token: int) -> str:
        """Return the text that is certain with a further token, beyond the pieces before it."""
        self._ids.append(token)
        return self._beyond(self._certain_text())

    def end(self, text: str) -> str:
        """Return the rest of the complete text."""
        return self._beyond(text)

    def _beyond(self, text: str) -> str:
        if not text.startswith(self._said):
            return ""
        piece, self._said = text[len(self._said) :], text
        return piece

    def _certain_text(self) -> str:
        ids = self._ids
        while ids and _BYTE.fullmatch(str(self._tokenizer.convert_ids_to_tokens(ids[-1]))):
            ids = ids[:-1]
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(text, str)
        text = text.rstrip(_INCOMPLETE)
        if self._tokenizer.clean_up_tokenization_spaces:
            return text[: text.rfind(" ")] if " " in text else ""
        return text
