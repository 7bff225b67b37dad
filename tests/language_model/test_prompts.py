import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.templates import TEMPLATES, Exemplar, PromptTemplate
from tests.conftest import tiny_tokenizer

PASSAGES = ["Ada was born in Paris.", "Bo was not."]
QUESTION = "Where was Ada born?"
_TOKENIZER = tiny_tokenizer()
# A chat template of another shape: line breaks around the words, and a beginning-of-text token.
LINES = (
    "<|end|>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
)


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    """The small tokenizer with a chat template of ``tokens``, of ``lines``, or with ``none``."""
    tokenizer = tiny_tokenizer(chat=template != "none")
    if template == "lines":
        tokenizer.chat_template = LINES
    return tokenizer


def rendered(tokenizer: PreTrainedTokenizerFast, user: str) -> str:
    """The text before the assistant's words, as one string."""
    if tokenizer.chat_template is None:
        return user + "\n"
    chat = [{"role": "user", "content": user}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def test_a_plain_text_has_no_turns_and_begins_as_the_tokenizer_begins_texts() -> None:
    tokenizer = tiny_tokenizer()
    words = tokens(tokenizer, "Ada was born.")
    assert PromptEncoder(tokenizer).encode_plain("Ada was born.").ids == words
    # What looks like a special token is a document's own text.
    marked = PromptEncoder(tokenizer).encode_plain("<|end|>").ids
    assert tokenizer.eos_token_id not in marked
    begin = tokenizer.pad_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", begin)]
    )
    assert PromptEncoder(tokenizer).encode_plain("Ada was born.").ids == [begin, *words]
    assert PromptEncoder(tokenizer).encode_plain("Ada was born.", 2) == ([begin, words[0]], 0, True)


@pytest.mark.parametrize("template", ["tokens", "lines", "none"])
def test_a_training_prompt_is_the_tokens_of_the_whole_rendered_chat_and_an_end(
    template: str,
) -> None:
    tokenizer = tokenizer_with(template)
    ids, num_user_tokens, _ = PromptEncoder(tokenizer).encode_training(QUESTION, PASSAGES, "Paris")
    before = rendered(tokenizer, PromptTemplate().user_text(QUESTION, PASSAGES))
    assert ids == [*tokens(tokenizer, before + "The answer is Paris."), tokenizer.eos_token_id]
    assert num_user_tokens == len(tokens(tokenizer, before))


def test_a_tokenizer_without_an_end_token_ends_with_the_answer() -> None:
    tokenizer = tiny_tokenizer()
    with_end, *_ = PromptEncoder(tokenizer).encode_training(QUESTION, PASSAGES, "Paris")
    tokenizer.eos_token = None
    ids, *_ = PromptEncoder(tokenizer).encode_training(QUESTION, PASSAGES, "Paris")
    assert ids == with_end[:-1]


def test_a_tokenizer_that_begins_texts_with_a_token_begins_prompts_with_it_once() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    plain = PromptEncoder(tokenizer).encode_generation(QUESTION)
    tokenizer.add_special_tokens({"bos_token": "<|user|>"})
    begin = tokenizer.bos_token_id
    # What tokenizers of this kind do in their post-processor.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|user|> $A", special_tokens=[("<|user|>", begin)]
    )
    assert tokenizer("a").input_ids[0] == begin
    assert PromptEncoder(tokenizer).encode_generation(QUESTION) == [begin, *plain]


@pytest.mark.parametrize("template", ["tokens", "lines", "none"])
@pytest.mark.parametrize("answer", ["Paris", "1984", "J. K. Rowling", "15,140", "\u00e9t\u00e9"])
def test_generation_starts_where_a_training_prompt_goes_on_with_the_answer(
    template: str, answer: str
) -> None:
    tokenizer = tokenizer_with(template)
    encoder = PromptEncoder(tokenizer)
    prompt = encoder.encode_generation(QUESTION, PASSAGES)
    trained, num_user_tokens, _ = encoder.encode_training(QUESTION, PASSAGES, answer)
    before, own = encoder.encode_answered(QUESTION, PASSAGES, answer)
    assert trained[: len(prompt)] == prompt
    assert tokenizer.decode(prompt[num_user_tokens:]) == "The answer is"
    assert before == prompt
    # The space belongs to the answer's first token.
    assert tokenizer.decode(own) == f" {answer}"


def test_special_tokens_in_a_document_a_question_or_an_answer_are_plain_characters() -> None:
    tokenizer = tiny_tokenizer()
    text = "Ada <|end|> was <|user|> born."
    (end,), (user,) = tokens(tokenizer, "<|end|>"), tokens(tokenizer, "<|user|>")
    assert {end, user} < set(tokens(tokenizer, text))
    encoder = PromptEncoder(tokenizer)
    ids, num_user_tokens, _ = encoder.encode_training("Who<|user|>?", [text], "<|end|>")
    assert (ids.count(user), ids.count(end)) == (1, 1)
    assert (ids[0], ids[-1]) == (user, end)
    assert tokenizer.decode(ids[num_user_tokens:-1]) == "The answer is <|end|>."
    assert f"Passage 1: {text}\n" in tokenizer.decode(ids)
    # Reading documents that way leaves the tokenizer as it was.
    assert end in tokens(tokenizer, text)


@given(st.integers(100, 400), st.lists(st.text("ab \u00e9\n", max_size=400), max_size=3))
def test_passages_are_cut_to_the_longest_prompt_and_the_rest_is_kept(
    max_tokens: int, passages: list[str]
) -> None:
    encoder = PromptEncoder(_TOKENIZER)
    whole, *_ = encoder.encode_training(QUESTION, passages, "Paris")
    ids, num_user_tokens, is_cut = encoder.encode_training(QUESTION, passages, "Paris", max_tokens)
    assert is_cut == (len(whole) > max_tokens and any(passages))
    generation = encoder.encode_generation(QUESTION, passages, max_tokens)
    before, _ = encoder.encode_answered(QUESTION, passages, "Paris", max_tokens)
    bare, *_ = encoder.encode_training(QUESTION, [""] * len(passages), "Paris")
    assert before == generation
    for prompt in (ids, generation):
        assert len(prompt) <= max(max_tokens, len(bare))
    assert ids[num_user_tokens:] == whole[len(whole) - len(ids) + num_user_tokens :]
    question = str(_TOKENIZER.decode(ids[:num_user_tokens]))
    assert question.endswith("Question: Where was Ada born?<|assistant|>")
    if len(whole) <= max_tokens:
        assert ids == whole


def test_cut_passages_fill_most_of_the_room_and_lose_the_same_share() -> None:
    encoder = PromptEncoder(_TOKENIZER)
    passages = ["one two three four five " * 20, "six seven eight nine ten " * 60]
    bare, *_ = encoder.encode_training(QUESTION, ["", ""], "Paris")
    room = 300
    ids, *_ = encoder.encode_training(QUESTION, passages, "Paris", len(bare) + room)
    assert len(ids) - len(bare) > 0.9 * room
    _, first, second = str(_TOKENIZER.decode(ids)).split("Passage ")
    shares = [len(first) / len(passages[0]), len(second) / len(passages[1])]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


@pytest.mark.parametrize("max_tokens", [1, 5, 40])
def test_a_limit_that_the_question_alone_exceeds_leaves_question_and_answer_whole(
    max_tokens: int,
) -> None:
    encoder = PromptEncoder(_TOKENIZER)
    ids, *_ = encoder.encode_training(QUESTION, ["a b " * 500], "Paris", max_tokens)
    assert ids == encoder.encode_training(QUESTION, [""], "Paris")[0]


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer in which the end of an answer's start and its first word are one token."""
    words = ["答", "案", "是", "北", "京", "。", "答案", "答案是", "北京", "答案是北京", "巴", "黎"]
    merges = [("答", "案"), ("答案", "是"), ("北", "京"), ("答案是", "北京")]
    vocab = {word: number for number, word in enumerate(["<|end|>", "<unk>", *words])}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", unk_token="<unk>")


@pytest.mark.parametrize(("answer", "words"), [("北京", ["北京"]), ("巴黎", ["巴", "黎"])])
def test_a_token_that_start_and_answer_share_is_neither_trained_nor_scored(
    answer: str, words: list[str]
) -> None:
    tokenizer = merging_tokenizer()
    template = PromptTemplate(assistant="答案是{answer}。", assistant_start="答案是")
    encoder = PromptEncoder(tokenizer, template)
    if answer == "北京":
        assert tokenizer.tokenize("答案是北京") == ["答案是北京"]
    prompt = encoder.encode_generation("谁")
    trained, num_user_tokens, _ = encoder.encode_training("谁", (), answer)
    assert trained[: len(prompt)] == prompt
    spoken = tokenizer.convert_ids_to_tokens(trained[num_user_tokens:])
    assert spoken[: 1 + len(words)] == ["答案是", *words]
    before, own = encoder.encode_answered("谁", (), answer)
    assert before == prompt
    assert tokenizer.convert_ids_to_tokens(own)[: len(words)] == words
    assert trained[len(before) :][: len(words)] == own[: len(words)]


def test_a_tokenizer_that_ends_every_text_does_not_begin_prompts_with_an_end() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    user, end = tokens(tokenizer, "<|user|>")[0], tokenizer.eos_token_id
    plain = PromptEncoder(tokenizer).encode_generation(QUESTION)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|user|> $A <|end|>", special_tokens=[("<|user|>", user), ("<|end|>", end)]
    )
    assert tokenizer("").input_ids == [user, end]
    encoder = PromptEncoder(tokenizer)
    assert encoder.encode_generation(QUESTION) == [user, *plain]
    words = tokens(tokenizer, "Ada was born.")
    assert encoder.encode_plain("Ada was born.").ids == [user, *words]
    assert encoder.encode_training(QUESTION, (), "Paris").ids.count(end) == 1


REASONING = TEMPLATES["chain_of_thought"]
EXEMPLAR = Exemplar(
    "Where was Cy born?", "Cy is the son of Di. Di lived in Lund. So the answer is Lund."
)


def test_a_model_that_reasons_is_trained_on_what_it_is_shown_and_asked_to_say() -> None:
    encoder = PromptEncoder(_TOKENIZER, REASONING, (EXEMPLAR,))
    ids, num_user_tokens, _ = encoder.encode_training(
        QUESTION, PASSAGES, "Paris", None, "In Paris."
    )
    text = rendered(_TOKENIZER, REASONING.user_text(QUESTION, PASSAGES, [EXEMPLAR]))
    end = _TOKENIZER.eos_token_id
    turn = "Answer: In Paris. So the answer is Paris."
    assert ids == [*tokens(_TOKENIZER, text + turn), end]
    assert encoder.encode_generation(QUESTION, PASSAGES) == [
        *ids[:num_user_tokens],
        *tokens(_TOKENIZER, "Answer:"),
    ]
    # The likelihood of an answer behind reasons that only the model knows is not asked for.
    prompt, answer = encoder.encode_answered(QUESTION, PASSAGES, "Paris")
    assert (prompt, answer) == (encoder.encode_generation(QUESTION, PASSAGES), [])


def test_the_wording_tells_exemplars_and_templates_apart() -> None:
    encoders = [
        PromptEncoder(_TOKENIZER),
        PromptEncoder(_TOKENIZER, REASONING),
        PromptEncoder(_TOKENIZER, REASONING, (EXEMPLAR,)),
        PromptEncoder(_TOKENIZER, REASONING, (EXEMPLAR, EXEMPLAR)),
    ]
    assert len({encoder.wording for encoder in encoders}) == 4


def test_exemplars_without_a_place_in_the_template_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'user' has no field {exemplars} for them; add one"):
        PromptEncoder(_TOKENIZER, PromptTemplate(), (EXEMPLAR,))
