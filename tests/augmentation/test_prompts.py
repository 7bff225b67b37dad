"""The wording in which a language model is asked."""

import json
import re

from prag_lightning.augmentation.pairs import read_pairs
from prag_lightning.augmentation.prompts import (
    question_prompt,
    rewrite_prompt,
    single_pair_prompt,
)


def test_the_rewrite_prompt_is_the_published_one() -> None:
    # Su et al. 2025, arXiv:2501.15915, file all_prompt.md of the published code.
    assert rewrite_prompt("A {b} c.") == (
        "Rewrite the following passage. While keeping the entities, proper nouns, and key details "
        "such as names, locations, and terminology intact, create a new version of the text that "
        "expresses the same ideas in a different way. Make sure the revised passage is distinct "
        "from the original one, but preserves the core meaning and relevant information.\nA {b} c."
    )


def test_the_question_prompt_is_the_published_one() -> None:
    prompt = question_prompt("A {b} c.", 3)
    beginning, _, rest = prompt.partition("[\n")
    assert beginning == (
        "I will provide a passage of text, and you need to generate three different questions "
        "based on the content of this passage. Each question should be answerable using the "
        "information provided in the passage. Additionally, please provide an appropriate answer "
        "for each question derived from the passage.\n"
        "You need to generate the question and answer in the following format:\n"
    )
    assert rest.partition("]\n\n")[2] == (
        "This list should have at least three elements. You only need to output this list in the "
        "above format.\nPassage:\nA {b} c."
    )


def test_the_example_in_the_question_prompt_is_valid_json() -> None:
    found = re.search(r"\[\n.*?\n\]", question_prompt("text", 3), re.DOTALL)
    assert found is not None
    assert json.loads(found.group()) == [
        {
            "question": "What is the capital of France?",
            "answer": "Paris",
            "full_answer": "The capital of France is Paris.",
        }
    ]


def test_the_number_follows_the_number_of_pairs_in_words_up_to_ten() -> None:
    assert question_prompt("text", 10).count("ten different questions") == 1
    assert question_prompt("text", 10).count("at least ten elements") == 1
    assert question_prompt("text", 11).count("11 different questions") == 1


def test_the_prompt_for_one_pair_shows_three_examples_and_names_the_subject() -> None:
    prompt, examples = single_pair_prompt("It was built in 1974.", "The Heron", turn=0)
    assert prompt.endswith("\nThe Heron: It was built in 1974.")
    assert len(examples) == 3
    for example in examples:
        ((question, answer, _),) = [
            (pair.question, pair.answer, pair.full_answer)
            for pair in read_pairs(example.assistant)[0]
        ]
        assert question.endswith("?")
        assert answer in example.user
        assert example.user.partition("\n")[0] == prompt.partition("\n")[0]


def test_a_sentence_that_names_its_subject_stands_alone() -> None:
    for title in ("the heron", ""):
        prompt, _ = single_pair_prompt("The Heron was built in 1974.", title, turn=0)
        assert prompt.endswith("\nThe Heron was built in 1974.")


def test_other_turns_show_other_examples() -> None:
    shown = [single_pair_prompt("It is old.", "", turn)[1] for turn in range(6)]
    assert len(set(shown)) == 5
    assert shown[0] == shown[5]
