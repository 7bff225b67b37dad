"""The files that a document and a question pass: few, and in the order of the stages."""

from pathlib import Path

import pytest

from tools.walk import ROOT, walk

STAGES_OF_A_DOCUMENT = [
    "prag_lightning/documents/records.py",
    "prag_lightning/encoding/plan.py",
    "prag_lightning/encoding/schedule.py",
    "prag_lightning/language_model/prompts.py",
    "prag_lightning/encoding/slot_trainer.py",
    "prag_lightning/language_model/loss.py",
    "prag_lightning/adapters/store/packed_writer.py",
]
STAGES_OF_A_QUESTION = [
    "prag_lightning/documents/records.py",
    "prag_lightning/retrieval/base.py",
    "prag_lightning/language_model/prompts.py",
    "callbacks/merged_evaluation.py",
    "prag_lightning/adapters/merge.py",
    "prag_lightning/answering/generate.py",
    "prag_lightning/answering/extraction.py",
    "prag_lightning/evaluation/scores.py",
]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_document_and_a_question_pass_the_stages_in_order(tmp_path: Path) -> None:
    found = walk(tmp_path)
    stages = (STAGES_OF_A_DOCUMENT, STAGES_OF_A_QUESTION)
    for files, expected in zip(found, stages, strict=True):
        assert [file for file in files if file in expected] == expected
        assert all((ROOT / file).exists() for file in files)
    # What is done once is not among them.
    assert not {"base_model.py", "base_check.py"} & {Path(file).name for file in found.document}
    assert len(found.document) <= 41
    assert len(found.question) <= 43
    # A question trains nothing, and a document answers nothing.
    assert not [file for file in found.document if "/answering/" in file]
    assert "prag_lightning/encoding/slot_trainer.py" not in found.question
