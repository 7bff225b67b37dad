"""Where a sentence ends, in English and elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.documents.sentences import split_sentences

# Sentences as a reader would mark them.
ENGLISH = [
    "J. K. Rowling wrote it.|She lives in Washington, D.C.",
    "He moved to Washington, D.C.|He stayed there.",
    "The U.S. Army came.|It left.",
    "He lives in the U.S.|She does not.",
    'Dr. No met Mr. Smith at 5 p.m. on Monday.|"Is it?" he asked.|Yes!',
    "Mr. and Mrs. Jones vs. the State.|Verdict: none.",
    "He saw Mt. Everest and Ft. Worth with Capt. Cook, Rev. Green and Lt. Col. West.|Then he left.",
    "St. Louis is in Missouri.|So is Mt. Vernon.",
    "Sammy Davis Jr. sang.|He left.",
    "J.R.R. Tolkien wrote.|So did C.S. Lewis.",
    "Gen. Charles de Gaulle et al. in 1940.|End.",
    "She got a Ph.D. in 1990.|Then she left.",
    "It costs $3.50 vs. $4.|Buy it!",
    "Plan B failed.|So did plan C.",
    "Jan. 5 was cold, approx. 3 degrees.|Born c. 1200.",
    'He said "Stop."|Then he ran.',
    'He said "Stop!" and ran.|"No," said Kim.',
    "\u201cI go.\u201d|\u201cYou stay.\u201d|Ok.",
    "Apple Inc. makes phones.|Google LLC too.",
    "Version 2.0. is out.|Use it.",
    "Visit https://example.com/a.b?c=d.|Then go.",
    "1. One thing.|2. Two things.",
    "The first edition sold.[2]|The second did not.[citation needed] :12|It ended.",
    "iPhone sold well.|iPads did too.",
    "Really?!|Yes.|ends without a stop",
]
# Between these stands no space.
OTHERS = [
    "东京是首都。|它很大！|真的吗？|是的。",
    "他说：“你好。”|然后走了。",
    "「行くの？」と彼は言った。|そして去った。",
    "これはペンです．|次です｡|終わり",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_sentences_end_where_a_reader_ends_them(text: str) -> None:
    assert split_sentences(text.replace("|", " ")) == text.split("|")


@pytest.mark.parametrize("text", OTHERS)
def test_sentences_without_spaces_between_them_are_found(text: str) -> None:
    assert split_sentences(text.replace("|", "")) == text.split("|")


@pytest.mark.parametrize("text", ["यह एक है।|वह दो है।", "هل هذا صحيح؟|نعم.", "¿Qué quiere?|¡Nada!"])
def test_full_stops_of_other_scripts_end_sentences(text: str) -> None:
    assert split_sentences(text.replace("|", " ")) == text.split("|")


def test_wrapped_lines_go_on_and_headings_paragraphs_and_list_items_do_not() -> None:
    text = "# A title\nIt is a\n  river. It\nis long\n\n- an item\n2. Another. More\n東京は\n首都。"
    assert split_sentences(text) == [
        *("# A title", "It is a river.", "It is long", "- an item", "2. Another."),
        "More 東京は首都。",
    ]


@given(st.text("aB 1.!?\"'()\n\t。！「」’と\u0085\u2028\u3000\x00\U0001f600#-"))
def test_no_sign_is_lost_or_added_but_white_space(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join(sentences).replace(" ", "") == "".join(text.split())
    assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)
