"""Prompts that ask a language model for texts and question-answer pairs.

`rewrite_prompt` and `question_prompt` are the published ones (Su et al. 2025, arXiv:2501.15915),
except that a missing comma in the example of the second, which would teach invalid JSON, is added
and the number of pairs is a parameter. The others are ours; `single_pair_prompt` is for models
that cannot write JSON.
"""

from prag_lightning.augmentation.requests import Example

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

_SUMMARY = (
    "Summarize the following passage in a few sentences. Keep all names, numbers and dates, and "
    "add nothing that the passage does not say. Write the summary only.\n{passage}"
)
_FACTS = (
    "List the facts that the following passage states, one short sentence a line. Each sentence "
    "must be understandable without the others: repeat the names in it. Add nothing that the "
    "passage does not say. Write the sentences only.\n{passage}"
)
_IMPLICATIONS = (
    "List what follows from the following passage without being said in it, one short sentence a "
    "line. Each sentence must be certain if the passage is true, and understandable without the "
    "others. Use only names and numbers of the passage. Write the sentences only.\n{passage}"
)
_TEXTS = {
    "rewrite": _REWRITE,
    "summary": _SUMMARY,
    "facts": _FACTS,
    "implications": _IMPLICATIONS,
}

# Phrases that show that the model repeats the request or describes its own work.
WORDS_OF_REQUESTS = (
    "entities, proper nouns",
    "new version of the text",
    "distinct from the original",
    "core meaning",
    "original passage",
    "revised passage",
    "rewritten passage",
    "following passage",
)

_ANSWER = (
    "Answer the question in as few words as possible, with words of the passage. If the passage "
    "does not answer it, say: unanswerable.\nPassage: {passage}\nQuestion: {question}"
)

_OPEN = (
    "Write one question about the subject of the following passage that somebody might ask, but "
    "that the passage does not answer. Use words of the passage. Write the question only.\n"
    "{passage}"
)

_SINGLE = "Write one question about this sentence, and its answer in a few words of the sentence.\n"
# Small models follow examples rather than instructions; there is one for each kind of question.
_SINGLE_EXAMPLES = (
    ("Bakery: Anna Berg opened it in Lund in 1987.", "When did Anna Berg open the bakery?", "1987"),
    ("The town clock was made by Jan Willems.", "Who made the town clock?", "Jan Willems"),
    (
        "Harbour tour: Tickets cost 12 euros.",
        "How much is a ticket for the harbour tour?",
        "12 euros",
    ),
    ("Rosa Lima: She moved from Malta to Oslo.", "Where did Rosa Lima come from?", "Malta"),
    ("The ferry is called Povl Anker.", "What is the ferry called?", "Povl Anker"),
)
_NUM_EXAMPLES = 3

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def rewrite_prompt(passage: str) -> str:
    """Return the prompt for a rewrite of a passage."""
    return text_prompt("rewrite", passage)


def text_prompt(kind: str, passage: str) -> str:
    """Return the prompt for a text about a passage.

    Args:
        kind: ``rewrite``, ``summary``, ``facts`` or ``implications``.
        passage: The document's text.
    """
    return _TEXTS[kind].format(passage=passage)


def answer_prompt(question: str, passage: str) -> str:
    """Return the prompt for the answer to a question about a passage.

    Args:
        question: The question.
        passage: The document's text.
    """
    return _ANSWER.format(passage=passage, question=question)


def open_question_prompt(passage: str) -> str:
    """Return the prompt for a question that a passage does not answer."""
    return _OPEN.format(passage=passage)


def question_prompt(passage: str, num_qas: int) -> str:
    """Return the prompt for question-answer pairs about a passage, as JSON.

    Args:
        passage: The document's text.
        num_qas: Number of pairs, spelled out up to ten.
    """
    number = _NUMBERS[num_qas] if num_qas < len(_NUMBERS) else str(num_qas)
    return _QUESTIONS.format(number=number, passage=passage)


def single_pair_prompt(sentence: str, title: str, turn: int) -> tuple[str, tuple[Example, ...]]:
    """Return the prompt for one question-answer pair about a sentence, and its examples.

    Args:
        sentence: The sentence.
        title: Title of the document, put before a sentence that does not contain it.
        turn: Number of the request about the document, which selects the examples.
    """
    shown = [
        _SINGLE_EXAMPLES[(turn + number) % len(_SINGLE_EXAMPLES)] for number in range(_NUM_EXAMPLES)
    ]
    examples = tuple(
        Example(_SINGLE + text, f"Q: {question}\nA: {answer}") for text, question, answer in shown
    )
    subject = "" if title.casefold() in sentence.casefold() else f"{title}: "
    return f"{_SINGLE}{subject}{sentence}", examples
