"""Retrieval by embeddings, with a small model made in memory."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from prag_lightning.data.documents import Document, Question
from prag_lightning.retrieval import dense

WORDS = ["[UNK]", "paris", "rome", "oslo", "capital", "river"]
DOCUMENTS = [Document(id=f"id/{word}", title=word, text="capital") for word in WORDS[1:4]]


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"sentence_transformers and faiss; install .*\[dense\]"):
        dense.build_index(DOCUMENTS, tmp_path / "index", "model")


def test_a_missing_index_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="no dense index; build it: prag index dense CORPUS MODEL"
    ):
        dense.DenseRetriever(tmp_path / "none")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a model that embeds a text as the mean of its words' unit vectors."""
    if not find_spec("faiss"):
        pytest.skip("faiss is not installed: pip install 'prag-lightning[dense]'")
    pytest.importorskip("sentence_transformers", reason="pip install 'prag-lightning[dense]'")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = StaticEmbedding(tokenizer, embedding_weights=torch.eye(len(WORDS)).numpy())
    SentenceTransformer(modules=[embedding]).save(str(tmp_path / "model"))
    return str(tmp_path / "model")


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


def test_an_index_of_nothing_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(ValueError, match="there are no documents to index"):
        dense.build_index([], tmp_path / "index", model)
