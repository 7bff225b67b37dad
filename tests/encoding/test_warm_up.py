"""A warm start: what it is trained on, and that it is what PEFT and torch train."""

from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.peft_format import read_adapter
from prag_lightning.adapters.warm_start import WarmStartSource, random_adapter
from prag_lightning.cli.main import main
from prag_lightning.documents.records import (
    Augmentation,
    Question,
    QuestionAnswer,
    Record,
    write_records,
)
from prag_lightning.encoding.warm_up import WarmUpPair, read_pairs, refuse_overlap
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_base, tiny_tokenizer
from tests.reference import encode_sequentially

PAIRS = [WarmUpPair("Where was Bo born?", "Rome"), WarmUpPair("Who is Cy?", "A painter")]
AUGMENTATION = Augmentation(
    document_id="d",
    rewrites=["Unused."],
    qas=[QuestionAnswer(question=q, answer=a, full_answer=f"It is {a}.") for q, a, _ in PAIRS],
)
QUESTIONS = [
    Question(id=str(n), question=q, answers=[a, "another"]) for n, (q, a, _) in enumerate(PAIRS)
]


@pytest.mark.parametrize(
    ("records", "pairs"),
    [
        ([AUGMENTATION], [WarmUpPair(q, a, f"It is {a}.") for q, a, _ in PAIRS]),
        (QUESTIONS, PAIRS),
    ],
    ids=["augmentations", "questions"],
)
def test_pairs_are_read_from_augmentations_and_from_questions(
    tmp_path: Path, records: list[Record], pairs: list[WarmUpPair]
) -> None:
    write_records(tmp_path / "pairs.jsonl", records)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([Question(id="q9", question="Who?")], "question 'q9' has no answers"),
        ([Augmentation(document_id="d", rewrites=[], qas=[])], "holds no question-answer pairs"),
        ([], "holds no question-answer pairs"),
    ],
)
def test_a_file_without_pairs_is_refused(
    tmp_path: Path, records: list[Record], message: str
) -> None:
    write_records(tmp_path / "pairs.jsonl", records)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "pairs.jsonl")


@pytest.mark.parametrize("asked", ["Where was Bo born?", " where was  BO born ??"])
def test_a_question_of_the_evaluation_is_refused_and_named(tmp_path: Path, asked: str) -> None:
    file = tmp_path / "questions.jsonl"
    write_records(file, [Question(id="new", question="Else?"), Question(id="q7", question=asked)])
    with pytest.raises(ValueError, match=r"question 'q7' of .* among the questions of the warm"):
        refuse_overlap(PAIRS, file)
    write_records(file, [Question(id="new", question="Where was Bo buried?")])
    refuse_overlap(PAIRS, file)


def warm_up(base_dir: Path, tmp_path: Path, *more: str) -> int:
    write_records(tmp_path / "pairs.jsonl", QUESTIONS)
    return main(
        [
            *("fit", "--trainer.accelerator", "cpu", "--model.base", str(base_dir)),
            *("--trainer.default_root_dir", str(tmp_path / "run"), "--model.lr", "0.003"),
            *("--data.folder", str(tmp_path), "--data.passes", "3"),
            *("--data.warm_up", str(tmp_path / "pairs.jsonl"), *more),
        ]
    )


def test_the_warm_start_is_the_adapter_that_peft_and_torch_train_on_the_pairs(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "questions.jsonl", [Question(id="q", question="Else?")])
    assert warm_up(base_dir, tmp_path) == 0
    config = LoraConfig()
    layout = AdapterBank(tiny_base(), config, 1).layout
    row = read_adapter(tmp_path / "run" / "warm_start", layout, config)
    encoder = PromptEncoder(tiny_tokenizer())
    prompts = [encoder.encode_training(q, (), a)[0] for q, a, _ in PAIRS] * 3
    start = random_adapter(layout, seed=0)
    [expected] = encode_sequentially(tiny_base(), config, layout, start, [prompts], 0.003)
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)
    assert (row - start).abs().max() > 3e-3
    # It is where it is looked for, and a second run leaves it there.
    found = WarmStartSource(str(tmp_path / "run" / "warm_start")).read(layout, config)
    assert torch.equal(found, row)
    capfd.readouterr()
    assert warm_up(base_dir, tmp_path) == 0
    assert "1 documents, 1 of them encoded before" in capfd.readouterr().out
    assert torch.equal(read_adapter(tmp_path / "run" / "warm_start", layout, config), row)


def test_another_warm_start_in_the_folder_is_not_overwritten(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "questions.jsonl", [Question(id="q", question="Else?")])
    assert warm_up(base_dir, tmp_path) == 0
    file = tmp_path / "run" / "warm_start" / "adapter_model.safetensors"
    before = file.read_bytes()
    store = ["--model.store", str(tmp_path / "other"), "--model.lr", "0.001"]
    assert warm_up(base_dir, tmp_path, *store) == 2
    assert "holds another warm start than this run trained" in capfd.readouterr().err
    assert file.read_bytes() == before


def test_a_warm_start_on_a_question_of_the_evaluation_is_refused_in_one_line(
    base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "questions.jsonl", [Question(id="q7", question=PAIRS[1].question)])
    assert warm_up(base_dir, tmp_path) == 2
    assert "question 'q7' of" in capfd.readouterr().err
    assert not (tmp_path / "run" / "warm_start").exists()
