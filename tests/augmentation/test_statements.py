"""The sentences of a document that say something."""

import pytest

from prag_lightning.augmentation.statements import find_statements
from prag_lightning.documents.records import Document


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("# Heron\n\nIt is green. It is old.", ["It is green.", "It is old."]),
        ("# Heron\nIt is green", ["It is green"]),
        ("Heron\n=====\nIt is green.\n\nAge\n---\nIt is old.", ["It is green.", "It is old."]),
        ("Heron\nThe boat is green.", ["The boat is green."]),
        ("Heron\n\nThe boat is green.", ["The boat is green."]),
        ("**Heron**\n\nThe boat is green. [1]", ["The boat is green. [1]"]),
        ("It is green.\n\nHistory\n\nIt is old.", ["It is green.", "It is old."]),
        ("It is green.\n\n---\n\nIt is old.", ["It is green.", "It is old."]),
        ("- It is green.\n- It is old", ["It is green.", "It is old"]),
        ("1. It is green.\n2. It is old.", ["It is green.", "It is old."]),
        ("- milk\n- bread", ["milk", "bread"]),
        ("Run it:\n\n```\nprag fit\n```\n\nIt works.", ["It works."]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["1 | 2"]),
        ("The boat was\nbuilt by Maria\nLindqvist.", ["The boat was built by Maria Lindqvist."]),
        ("Ada ran. Bo sat", ["Ada ran.", "Bo sat"]),
        ("Poets like it", ["Poets like it"]),
        ("Heron\n\nGreen boat", ["Heron", "Green boat"]),
        ("東京\n\n東京は首都です。大きい。", ["東京は首都です。", "大きい。"]),
        ("...", []),
        (" \n", []),
    ],
)
def test_headings_code_and_marks_are_left_out_and_nothing_else(
    text: str, sentences: list[str]
) -> None:
    assert find_statements(Document(id="d", text=text)) == sentences


def test_the_title_as_first_line_is_no_sentence_however_long() -> None:
    title = "The long and winding story of a small green boat"
    document = Document(id="d", title=title, text=f"{title}\nit is green.")
    assert find_statements(document) == ["it is green."]
    assert find_statements(document.model_copy(update={"title": ""})) == [f"{title} it is green."]
