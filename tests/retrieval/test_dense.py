"""Retrieval by embeddings, with a small model made in memory."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval import dense, extras

WORDS = ["[UNK]", "paris", "rome", "oslo", "capital", "river"]
DOCUMENTS = [Document(id=f"id/{word}", title=word, text="capital") for word in WORDS[1:4]]


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"sentence_transformers and faiss; install .*\[dense\]"):
        dense.build_index(DOCUMENTS, tmp_path / "index", "model")


def test_a_missing_index_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="no dense index; build it: prag index dense CORPUS MODEL"
    ):
        dense.DenseRetriever(tmp_path / "none")


def require_libraries() -> None:
    if not find_spec("faiss"):
        pytest.skip("faiss is not installed: pip install 'prag-lightning[dense]'")
    pytest.importorskip("sentence_transformers", reason="pip install 'prag-lightning[dense]'")


def word_tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a model that embeds a text as the mean of its words' unit vectors."""
    require_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    weights = torch.eye(len(WORDS)).numpy()
    embedding = StaticEmbedding(word_tokenizer(), embedding_weights=weights)
    SentenceTransformer(modules=[embedding]).save(str(tmp_path / "model"))
    return str(tmp_path / "model")


def test_vectors_are_those_of_a_transformer_with_its_own_prompt_for_questions(
    tmp_path: Path,
) -> None:
    require_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    bert = BertModel(config).eval()
    bert.save_pretrained(tmp_path / "bert")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), pad_token="[UNK]")
    tokenizer.save_pretrained(tmp_path / "bert")
    modules = [Transformer(str(tmp_path / "bert")), Pooling(16, pooling_mode="mean")]
    prompts = {"query": "river ", "document": ""}
    SentenceTransformer(modules=modules, prompts=prompts).save(str(tmp_path / "model"))

    @torch.no_grad()
    def embed(text: str) -> torch.Tensor:
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]])
        return torch.nn.functional.normalize(bert(input_ids=ids)[0][0].mean(0), dim=0)

    dense.build_index(DOCUMENTS, tmp_path / "index", str(tmp_path / "model"))
    retriever = dense.DenseRetriever(tmp_path / "index")
    [found] = retriever.retrieve([Question(id="1", question="oslo capital")], top_k=3)
    vectors = {one.id: embed(f"{one.title} {one.text}") for one in DOCUMENTS}
    for question, fits in (("river oslo capital", True), ("oslo capital", False)):
        scores = {one: float(embed(question) @ vector) for one, vector in vectors.items()}
        assert (dict(found) == pytest.approx(scores, abs=1e-5)) == fits
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_model_that_is_nowhere_is_named_in_one_line(tmp_path: Path) -> None:
    require_libraries()
    name = str(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=f"embedding model '{name}' cannot be") as refused:
        dense.build_index(DOCUMENTS, tmp_path / "index", name)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "index").exists()


def test_a_hub_that_cannot_be_reached_is_given_up_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_libraries()
    import huggingface_hub

    asked = []

    def unreachable(name: str, **options: object) -> None:
        asked.append(name)
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError, match=r"model 'org/name' .*\(no connection\); give a"):
        dense.build_index(DOCUMENTS, tmp_path / "index", "org/name")
    # Nothing else asks the hub: a second request would wait for the first one's many attempts.
    assert asked == ["org/name"]


def test_repetitions_count_once_and_a_damaged_index_is_refused(tmp_path: Path, model: str) -> None:
    assert dense.build_index(DOCUMENTS * 2, tmp_path / "index", model) == 3
    (tmp_path / "index/document_ids.jsonl").write_text('"a"\n')
    with pytest.raises(
        ValueError, match=r"is damaged: .*; build it: prag index dense CORPUS MODEL"
    ):
        dense.DenseRetriever(tmp_path / "index")


def test_a_disk_that_has_no_room_for_the_vectors_is_an_error_of_the_disk(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    def full(*arguments: object) -> None:
        raise RuntimeError("Error in faiss::FileIOWriter: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(OSError, match=r"the index cannot be written, .*No space left on device"):
        dense.build_index(DOCUMENTS, tmp_path / "index", model)
    assert not (tmp_path / "index").exists()


def test_the_nearest_document_comes_first_with_its_cosine(tmp_path: Path, model: str) -> None:
    assert dense.build_index(DOCUMENTS, tmp_path / "index", model) == 3
    retriever = dense.DenseRetriever(tmp_path / "index")
    questions = [Question(id="1", question="rome"), Question(id="2", question="oslo capital")]
    first, second = retriever.retrieve(questions, top_k=2)
    # Each document's vector is (its city + capital) / sqrt(2).
    assert first[0].document_id == "id/rome"
    assert first[0].score == pytest.approx(0.5**0.5)
    assert [one.score for one in second] == pytest.approx([1.0, 0.5])
    assert second[0].document_id == "id/oslo"
    assert len(retriever.retrieve(questions[:1], top_k=9)[0]) == 3
    assert retriever.retrieve([], top_k=3) == []
    with pytest.raises(ValueError, match="top_k is 0"):
        retriever.retrieve(questions, top_k=0)


def test_a_model_s_folder_is_found_from_elsewhere(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dense.build_index(DOCUMENTS, tmp_path / "index", Path(model).name)
    monkeypatch.chdir(tmp_path.parent)
    retriever = dense.DenseRetriever(tmp_path / "index")
    assert retriever.retrieve([Question(id="1", question="rome")], 1)[0][0].document_id == "id/rome"


def test_an_index_of_nothing_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(ValueError, match="there are no documents to index"):
        dense.build_index([], tmp_path / "index", model)
