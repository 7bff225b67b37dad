"""The files of a run, across kills and other runs."""

import json
from pathlib import Path

import pytest

from prag_lightning.augmentation.draft import Failure
from prag_lightning.augmentation.outcome_files import OutcomeFiles, Settings
from prag_lightning.documents.records import Augmentation, QuestionAnswer

_SETTINGS: Settings = {"generator": "test", "num_qas": 1}
_PAIR = QuestionAnswer(question="Où?", answer="à Paris", full_answer="À Paris.")


def _augmentation(document_id: str) -> Augmentation:
    return Augmentation(document_id=document_id, rewrites=["“Ici”\u2028"], qas=[_PAIR])


def _failure(document_id: str, num_attempts: int = 2) -> Failure:
    return Failure(document_id=document_id, reason="no", num_attempts=num_attempts, answer="…")


def test_every_record_is_one_line_that_is_there_at_once(tmp_path: Path) -> None:
    output = tmp_path / "new" / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
        for number in range(3):
            files.append(_augmentation(f"d{number}"))
            files.append(_failure(f"f{number}"))
            lines = output.read_bytes().split(b"\n")
            assert len(lines) == number + 2
            assert Augmentation.model_validate_json(lines[-2]) == _augmentation(f"d{number}")
        assert files.done_ids() == {"d0", "d1", "d2"}
        assert files.failed_ids() == {"f0", "f1", "f2"}
    failures = (tmp_path / "new" / "a.failed.jsonl").read_text(encoding="utf-8")
    assert json.loads(failures.splitlines()[0]) == _failure("f0").model_dump()


def test_a_line_that_a_kill_tore_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
        files.append(_augmentation("d0"))
        whole = output.read_bytes()
        # Longer than what is read at a time when the end is looked for.
        files.append(_augmentation("d1" * 3000))
        both = output.read_bytes()
    for end in [*range(len(whole), len(whole) + 50), len(both) - 4096, len(both) - 1]:
        output.write_bytes(both[:end])
        with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
            assert output.read_bytes() == whole
            assert files.done_ids() == {"d0"}
            files.append(_augmentation("d1" * 3000))
        assert output.read_bytes() == both


def test_failures_are_kept_until_more_attempts_are_allowed(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS, max_attempts=2) as files:
        files.append(_failure("f2", num_attempts=2))
        files.append(_failure("f3", num_attempts=3))
    with OutcomeFiles(output, _SETTINGS, max_attempts=2) as files:
        assert files.failed_ids() == {"f2", "f3"}
    with OutcomeFiles(output, _SETTINGS, max_attempts=3) as files:
        assert files.failed_ids() == {"f3"}


def test_other_settings_are_refused_by_name_and_nothing_is_changed(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
        files.append(_augmentation("d0"))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    other: Settings = {"generator": "test", "num_qas": 2, "model": "m"}
    message = r"a.jsonl: was begun with other settings \(num_qas was 1 and is 2; model was None"
    with (
        pytest.raises(ValueError, match=message),
        OutcomeFiles(output, other, max_attempts=1),
    ):
        pass
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_of_other_origin_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    output.write_text("precious\n")
    with (
        pytest.raises(ValueError, match=r"a.jsonl: was not made by `prag augment`"),
        OutcomeFiles(output, _SETTINGS, max_attempts=1),
    ):
        pass
    assert output.read_text() == "precious\n"


def test_a_second_run_on_the_same_file_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
        with (
            pytest.raises(ValueError, match="another run is writing to it"),
            OutcomeFiles(output, _SETTINGS, max_attempts=1),
        ):
            pass
        with OutcomeFiles(output, _SETTINGS, max_attempts=1, rank=1) as same_run:
            same_run.append(_augmentation("d1"))
            files.append(_augmentation("d0"))
            assert files.done_ids() == same_run.done_ids() == {"d0", "d1"}
    with OutcomeFiles(output, _SETTINGS, max_attempts=1) as files:
        assert files.done_ids() == {"d0", "d1"}
