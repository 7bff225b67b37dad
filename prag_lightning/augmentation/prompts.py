"""The published wording in which a language model is asked for rewrites and question-answer pairs.

Su et al. 2025, arXiv:2501.15915. The example of the second prompt lacks a comma there, and so
teaches invalid JSON; here it is whole, and the number of pairs is a parameter.
"""

_REWRITE = (
    "Rewrite the following passage. While keeping the entities, proper nouns, and key details such "
    "as names, locations, and terminology intact, create a new version of the text that expresses "
    "the same ideas in a different way. Make sure the revised passage is distinct from the "
    "original one, but preserves the core meaning and relevant information.\n{passage}"
)

_QUESTIONS = (
    "I will provide a passage of text, and you need to generate {number} different questions based "
    "on the content of this passage. Each question should be answerable using the information "
    "provided in the passage. Additionally, please provide an appropriate answer for each question "
    "derived from the passage.\n"
    "You need to generate the question and answer in the following format:\n"
    "[\n"
    "    {{\n"
    '        "question": "What is the capital of France?",\n'
    '        "answer": "Paris",\n'
    '        "full_answer": "The capital of France is Paris."\n'
    "    }}\n"
    "]\n\n"
    "This list should have at least {number} elements. You only need to output this list in the "
    "above format.\n"
    "Passage:\n"
    "{passage}"
)

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def rewrite_prompt(passage: str) -> str:
    """Return the prompt that asks for a passage in other words."""
    return _REWRITE.format(passage=passage)


def question_prompt(passage: str, num_qas: int) -> str:
    """Return the prompt that asks for ``num_qas`` question-answer pairs about a passage, as JSON.

    The number stands there in words up to ten, in digits beyond.
    """
    number = _NUMBERS[num_qas] if num_qas < len(_NUMBERS) else str(num_qas)
    return _QUESTIONS.format(number=number, passage=passage)
