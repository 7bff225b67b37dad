"""The files of a run, across kills and other runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from prag_lightning.augmentation.outcome_files import OutcomeFiles, failures_file
from prag_lightning.augmentation.outcomes import Dropped, Failure, Outcome
from prag_lightning.augmentation.review import require_settings, take_out_outdated
from prag_lightning.augmentation.settings import Settings
from prag_lightning.documents.records import Augmentation, QuestionAnswer, read_records

_SETTINGS: Settings = {"generator": "test", "num_qas": 1}
_PAIR = QuestionAnswer(question="Où?", answer="à Paris", full_answer="À Paris.")


def _augmentation(
    document_id: str, digest: str | None = "new", has_pairs: bool = True
) -> Augmentation:
    return Augmentation(
        document_id=document_id,
        rewrites=["“Ici”\u2028"],
        qas=[_PAIR] if has_pairs else [],
        text_digest=digest,
    )


def _failure(document_id: str, num_attempts: int = 2, digest: str | None = "new") -> Failure:
    return Failure(
        document_id=document_id,
        reason="no",
        num_attempts=num_attempts,
        answer="…",
        text_digest=digest,
    )


def _made(document_id: str, **kwargs: str | bool | None) -> Outcome:
    return Outcome(document_id, augmentation=_augmentation(document_id, **kwargs))  # type: ignore[arg-type]


def _failed(document_id: str, **kwargs: int | str | None) -> Outcome:
    return Outcome(document_id, failure=_failure(document_id, **kwargs))  # type: ignore[arg-type]


def _in_part(document_id: str, has_pairs: bool, num_attempts: int = 2) -> Outcome:
    made = _augmentation(document_id, has_pairs=has_pairs)
    return Outcome(document_id, made, _failure(document_id, num_attempts))


def _begin(output: Path, *outcomes: Outcome, settings: Settings = _SETTINGS) -> None:
    with OutcomeFiles(output, settings) as files:
        for outcome in outcomes:
            files.append(outcome)


def test_every_record_is_one_line_that_is_there_at_once(tmp_path: Path) -> None:
    output = tmp_path / "new" / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS) as files:
        for number in range(3):
            files.append(_made(f"d{number}"))
            files.append(_failed(f"f{number}"))
            lines = output.read_bytes().split(b"\n")
            assert len(lines) == number + 2
            assert Augmentation.model_validate_json(lines[-2]) == _augmentation(f"d{number}")
        state = files.read()
        assert [*state.with_pairs] == ["d0", "d1", "d2"]
        assert [*state.failures] == ["f0", "f1", "f2"]
        assert not files.dropped.exists()
        parts = [Dropped(document_id="d0", part=p, reason="no", text="x") for p in ("pair 1", "b")]
        files.append(replace(_made("d3"), dropped=tuple(parts)))
        assert list(read_records(files.dropped, Dropped)) == parts
    failures = (tmp_path / "new" / "a.failed.jsonl").read_text(encoding="utf-8")
    assert Failure.model_validate_json(failures.splitlines()[0]) == _failure("f0")


def test_a_line_that_a_kill_tore_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS) as files:
        files.append(_made("d0"))
        whole = output.read_bytes()
        # Longer than what is read at a time when the end is looked for.
        files.append(_made("d1" * 3000))
        both = output.read_bytes()
    for end in [*range(len(whole), len(whole) + 50), len(both) - 4096, len(both) - 1]:
        output.write_bytes(both[:end])
        with OutcomeFiles(output, _SETTINGS) as files:
            assert output.read_bytes() == whole
            assert [*files.read().with_pairs] == ["d0"]
            files.append(_made("d1" * 3000))
        assert output.read_bytes() == both


def test_a_document_can_be_trained_on_with_pairs_or_with_all_that_was_wanted(
    tmp_path: Path,
) -> None:
    with OutcomeFiles(tmp_path / "a.jsonl", _SETTINGS) as files:
        files.append(_made("whole"))
        files.append(_made("rewrites were wanted", has_pairs=False))
        files.append(_in_part("pairs only", has_pairs=True))
        files.append(_in_part("rewrites only", has_pairs=False))
        files.append(_failed("nothing"))
        state = files.read()
    names = ["whole", "rewrites were wanted", "pairs only", "rewrites only", "nothing", "unknown"]
    assert [state.is_usable(name) for name in names] == [True, True, True, False, False, False]
    assert [state.is_done(name) for name in names] == [True] * 5 + [False]


def test_failures_stay_until_more_attempts_are_allowed(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _failed("f2", num_attempts=2), _failed("f3", num_attempts=3))
    digests = {"f2": "new", "f3": "new"}
    with OutcomeFiles(output, _SETTINGS) as files:
        assert take_out_outdated(files, digests, max_attempts=2) == set()
        assert [*files.read().failures] == ["f2", "f3"]
        take_out_outdated(files, digests, max_attempts=3)
        assert [*files.read().failures] == ["f3"]


def test_what_is_good_of_a_failure_is_kept_for_the_next_attempt_and_lost_in_no_kill(
    tmp_path: Path,
) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _in_part("d", has_pairs=False), _made("e"))
    digests = {"d": "new", "e": "new"}
    # The second time as after a kill.
    for _ in range(2):
        with OutcomeFiles(output, _SETTINGS) as files:
            take_out_outdated(files, digests, max_attempts=3)
            state = files.read()
            assert [*state.with_pairs] == ["e"]
            assert state.failures["d"].kept == _augmentation("d", has_pairs=False)
            assert not state.is_done("d")
    with OutcomeFiles(output, _SETTINGS) as files:
        files.append(_made("d"))
        assert files.read().failures == {}
        assert files.read().is_usable("d")
        files.tidy_failures()
    assert failures_file(output).read_bytes() == b""


def test_augmentations_and_failures_of_a_text_that_has_changed_are_taken_out(
    tmp_path: Path,
) -> None:
    output = tmp_path / "a.jsonl"
    _begin(
        output,
        _made("same"),
        _made("edited", digest="old"),
        _made("not among the documents", digest="old"),
        _failed("failed", digest="old"),
        _failed("still failed"),
    )
    digests = dict.fromkeys(["same", "edited", "failed", "still failed"], "new")
    with OutcomeFiles(output, _SETTINGS) as files:
        assert take_out_outdated(files, digests, max_attempts=1) == {"edited"}
        state = files.read()
    assert [*state.with_pairs] == ["same", "not among the documents"]
    assert [*state.failures] == ["still failed"]


def test_augmentations_without_a_digest_get_that_of_the_text_as_it_is_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("a", digest=None), _made("b"), _made("gone", digest=None))
    digests = {"a": "new", "b": "new"}
    with OutcomeFiles(output, _SETTINGS) as files:
        assert take_out_outdated(files, digests, max_attempts=1) == set()
    assert capsys.readouterr().err == (
        f"{output}: augmentations that do not say from which text they were made: 1; they are "
        "taken as made from the texts as they are now\n"
    )
    with OutcomeFiles(output, _SETTINGS) as files:
        # Once said, it is known.
        take_out_outdated(files, digests, max_attempts=1)
        assert capsys.readouterr().err == ""
        assert take_out_outdated(files, {**digests, "a": "edited"}, max_attempts=1) == {"a"}


def test_other_settings_are_refused_by_name_and_nothing_is_changed(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("d0"), _failed("d1"))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    other: Settings = {"generator": "test", "num_qas": 2, "model": "m"}
    message = (
        r"a.jsonl: holds augmentations that were made with other settings \(num_qas was 1 and is "
        r"2; model was None and is 'm'\); go on as before, give another --output, or delete the"
    )
    with OutcomeFiles(output, other) as files, pytest.raises(ValueError, match=message):
        require_settings(files, other)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_another_generator_is_named_without_its_settings(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("d0"))
    other: Settings = {"generator": "template", "num_rewrites": 1}
    message = "that were made by 'test', and not by 'template'; go on as before"
    with OutcomeFiles(output, other) as files, pytest.raises(ValueError, match=message):
        require_settings(files, other)


def test_what_finished_nothing_is_begun_anew_with_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _failed("d0"), _in_part("d1", has_pairs=False))
    other: Settings = {"generator": "template"}
    with OutcomeFiles(output, other) as files:
        require_settings(files, other)
        assert files.read().with_pairs == {}
        assert files.read().failures == {}
        files.append(_made("d0"))
        # It is claimed as before.
        with pytest.raises(ValueError, match="another run"), OutcomeFiles(output, other):
            pass
    assert capsys.readouterr().err == (
        f"{output}: was begun by 'test', and not by 'template', and finished nothing (2 failed); "
        "it is begun anew\n"
    )
    assert json.loads((tmp_path / "a.settings.json").read_text()) == other
    with OutcomeFiles(output, other) as files:
        require_settings(files, other)
        assert files.read().is_usable("d0")


def test_a_deleted_file_is_begun_anew_with_other_settings(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("d0"))
    output.unlink()
    other: Settings = {"generator": "template"}
    with OutcomeFiles(output, other) as files:
        require_settings(files, other)
    assert json.loads((tmp_path / "a.settings.json").read_text()) == other


def test_settings_that_older_files_do_not_name_are_no_difference(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("d0"))
    later: Settings = {**_SETTINGS, "top_p": 1.0, "pairs": "list", "grounded": True}
    with OutcomeFiles(output, later) as files:
        require_settings(files, later)
        assert files.read().is_usable("d0")
    named: Settings = {**_SETTINGS, "chat_template_kwargs.thinking": True}
    with OutcomeFiles(output, named) as files, pytest.raises(ValueError, match="thinking was None"):
        require_settings(files, named)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"a"'])
def test_damaged_settings_are_said(tmp_path: Path, content: str) -> None:
    output = tmp_path / "a.jsonl"
    _begin(output, _made("d0"))
    (tmp_path / "a.settings.json").write_text(content)
    message = r"a.settings.json: is damaged; delete it together with a.jsonl"
    with OutcomeFiles(output, _SETTINGS) as files, pytest.raises(ValueError, match=message):
        require_settings(files, _SETTINGS)


def test_a_file_of_other_origin_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    output.write_text("precious\n")
    with (
        pytest.raises(ValueError, match=r"a.jsonl: was not made by `prag augment`"),
        OutcomeFiles(output, _SETTINGS),
    ):
        pass
    assert output.read_text() == "precious\n"


def test_a_second_run_on_the_same_file_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    with OutcomeFiles(output, _SETTINGS) as files:
        with (
            pytest.raises(ValueError, match="another run is writing to it"),
            OutcomeFiles(output, _SETTINGS),
        ):
            pass
        with OutcomeFiles(output, _SETTINGS, rank=1) as same_run:
            same_run.append(_made("d1"))
            files.append(_made("d0"))
            assert {*files.read().with_pairs} == {*same_run.read().with_pairs} == {"d0", "d1"}
    with OutcomeFiles(output, _SETTINGS) as files:
        assert {*files.read().with_pairs} == {"d0", "d1"}
