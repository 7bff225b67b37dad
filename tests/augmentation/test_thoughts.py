"""Answers of models that think aloud."""

import pytest

from prag_lightning.augmentation.thoughts import without_thoughts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        ("<think>Paris or Lyon?</think>\n\nParis", "Paris"),
        ("Paris or Lyon?</think>Paris", "Paris"),
        ("<think>\n\n</think>\n\nParis", "Paris"),
        ("<think>a</think>b<think>c</think>Paris", "Paris"),
        ("<thinking>Hm.</thinking>Paris", "Paris"),
        ("<thought>Hm.</thought>Paris", "Paris"),
        ("[THINK]Hm.[/THINK]Paris", "Paris"),
        ("<seed:think>Hm.</seed:think>Paris", "Paris"),
        ("\u25c1think\u25b7Hm.\u25c1/think\u25b7Paris", "Paris"),
        ("<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Paris", "Paris"),
        ("<think>Paris or", None),
        (" \n<think>", None),
        ("<|channel|>analysis<|message|>Hm", None),
        ("<think>Hm.</think>", ""),
    ],
)
def test_only_what_follows_the_thoughts_counts(text: str, answer: str | None) -> None:
    assert without_thoughts(text) == answer
