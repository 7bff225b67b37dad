"""How well an answer agrees with the accepted ones: exact match, and F1 over tokens."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import regex

# Cuts a text into the tokens by which answers are compared.
Tokenize = Callable[[str], list[str]]

_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_ARTICLES = frozenset({"a", "an", "the"})
_CLOSED_ANSWERS = (["yes"], ["no"], ["noanswer"])

# Scripts without spaces between words; each character, with its marks, is one token.
_UNSPACED = "".join(
    rf"\p{{scx={script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
)
_TOKEN = regex.compile(rf"(?=[{_UNSPACED}])\X|[^{_UNSPACED}]+")
# Punctuation, symbols and invisible characters are removed (group 1), but a minus sign and a
# decimal point stay: -5 is not 5, and 3.5 is not 35; 24.12.1999 is a date.
_MARK = regex.compile(
    r"(?<!\w)-(?=\d)|(?<=(?<![\d.])\d+)\.(?=\d+(?![\d.]*\.\d))|([\p{P}\p{S}\p{Cf}\u0640])"
)
_DIGIT = regex.compile(r"\p{Nd}")
_SPACE = regex.compile(r"[\s\p{Z}\p{Cc}]+")


class F1Score(NamedTuple):
    """Overlap of a prediction's and an answer's tokens, each number from 0 to 1."""

    f1: float
    precision: float
    recall: float


def normalize_answer(text: str) -> str:
    """Return the text in lower case without ASCII punctuation, articles and surplus spaces.

    The normalization of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250).

    >>> normalize_answer("The  Chief of Protocol!")
    'chief of protocol'
    """
    bare = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def published_tokens(text: str) -> list[str]:
    """Return the words of a text, normalized as by SQuAD and the published evaluation."""
    return normalize_answer(text).split()


def strict_tokens(text: str) -> list[str]:
    """Return the tokens of a text in any script, without case, punctuation and articles.

    Tokens are words where spaces separate them, else single characters: ideographs, kana, and the
    letters of Thai, Lao, Khmer, Burmese and Tibetan with their marks. Equivalent Unicode forms
    (NFKC) have equal tokens. A text of only punctuation or articles keeps them.

    >>> strict_tokens("The 15,140 cafés.")
    ['15140', 'cafés']
    >>> strict_tokens("東京タワー")
    ['東', '京', 'タ', 'ワ', 'ー']
    """
    folded = _fold(text)
    bare = _MARK.sub(lambda mark: "" if mark[1] else mark[0], folded)
    words = [token for word in bare.split() for token in _TOKEN.findall(word)]
    return [word for word in words if word not in _ARTICLES] or words or folded.split()


def _fold(text: str) -> str:
    """Return the text in NFKC form, without case, with digits as 0 to 9."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Case folding leaves a combining dot on the dotted I of Turkish.
    folded = unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))
    folded = _SPACE.sub(" ", folded.replace("\u2212", "-"))
    return _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), folded)


def exact_match(
    prediction: str, answers: Sequence[str], tokenize: Tokenize = published_tokens
) -> float:
    """Return 1.0 if the prediction has the tokens of one of the answers, in order, else 0.0.

    Args:
        prediction: The answer that was given.
        answers: The accepted ones, at least one.
        tokenize: Cuts them into tokens.

    Raises:
        ValueError: If there is no answer to compare with.
    """
    _require_answers(prediction, answers)
    predicted = tokenize(prediction)
    return float(any(predicted == tokenize(answer) for answer in answers))


def token_f1(
    prediction: str, answers: Sequence[str], tokenize: Tokenize = published_tokens
) -> F1Score:
    """Return F1, precision and recall over tokens, each the best over all accepted answers.

    As published, the three may come from different answers, and ``yes``, ``no`` and ``noanswer``
    count only where prediction and answer are the same.

    Args:
        prediction: The answer that was given.
        answers: The accepted ones, at least one.
        tokenize: Cuts them into tokens.

    Raises:
        ValueError: If there is no answer to compare with.
    """
    _require_answers(prediction, answers)
    predicted = tokenize(prediction)
    scores = [_pair_f1(predicted, tokenize(answer)) for answer in answers]
    return F1Score(*(max(column) for column in zip(*scores, strict=True)))


def _pair_f1(prediction: list[str], answer: list[str]) -> F1Score:
    if prediction != answer and (prediction in _CLOSED_ANSWERS or answer in _CLOSED_ANSWERS):
        return F1Score(0.0, 0.0, 0.0)
    num_common = (Counter(prediction) & Counter(answer)).total()
    if num_common == 0:
        return F1Score(0.0, 0.0, 0.0)
    precision = num_common / len(prediction)
    recall = num_common / len(answer)
    return F1Score(2 * precision * recall / (precision + recall), precision, recall)


def _require_answers(prediction: str, answers: Sequence[str]) -> None:
    if not answers:
        raise ValueError(
            f"the prediction '{prediction}' has no accepted answer to compare with; "
            "give the question at least one answer, or leave it out of the evaluation"
        )
