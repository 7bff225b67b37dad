"""The base model's tokenizer: it encodes any text, with the world's words as whole tokens."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
_NUM_MERGES = 256
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>"
    "{% else %}<|user|>{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer in which every word of ``texts`` is one token.

    All other words are encoded with a few byte-pair merges learned from the texts. Words of the
    texts are looked up before merges apply (``ignore_merges``), so they need no merges.
    """
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocab, merges = _learn_merges(texts, pre_tokenizer)
    words = Counter(word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text))
    for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        vocab.setdefault(word, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def _learn_merges(
    texts: Iterable[str], pre_tokenizer: pre_tokenizers.PreTokenizer
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the special tokens, the bytes and the merged pieces by id, and the merges in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    special = [PAD, USER, ASSISTANT, END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + len(alphabet) + _NUM_MERGES,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]
