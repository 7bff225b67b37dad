"""Separating a model's answer from its thoughts."""

import re

# End of thoughts by model: DeepSeek, Qwen and most others; Magistral; Seed; Kimi; gpt-oss, whose
# answer is in a separate channel.
END_MARKS = (
    "</think>",
    "</thinking>",
    "</thought>",
    "</reasoning>",
    "[/THINK]",
    "</seed:think>",
    "\u25c1/think\u25b7",
    "<|channel|>final<|message|>",
)
START_MARKS = (
    "<think>",
    "<thinking>",
    "<thought>",
    "<reasoning>",
    "[THINK]",
    "<seed:think>",
    "\u25c1think\u25b7",
    "<|channel|>analysis<|message|>",
)
_START = re.compile(r"\s*(?:" + "|".join(map(re.escape, START_MARKS)) + ")")


def without_thoughts(text: str) -> str | None:
    """Return the text after a model's thoughts, or None if they do not end.

    >>> without_thoughts("<think>Paris or Lyon?</think> Paris")
    'Paris'
    >>> without_thoughts("<think>Paris or")
    """
    end = max((text.rfind(mark) + len(mark) for mark in END_MARKS if mark in text), default=0)
    answer = text[end:].strip()
    return None if _START.match(answer) else answer
