from pathlib import Path

import pytest

from prag_lightning.language_model.exemplars import read_exemplars
from prag_lightning.language_model.templates import Exemplar


def test_exemplars_are_read_from_a_json_list_whatever_else_it_says(tmp_path: Path) -> None:
    file = tmp_path / "shots.json"
    file.write_text('[{"question": "Who?", "answer": "Bo. So the answer is Bo.", "id": 3}]')
    assert read_exemplars(file) == (Exemplar("Who?", "Bo. So the answer is Bo."),)


def test_a_mark_before_the_first_byte_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "shots.json"
    file.write_text('[{"question": "Who?", "answer": "Bo."}]', encoding="utf-8-sig")
    assert read_exemplars(file) == (Exemplar("Who?", "Bo."),)


def test_exemplars_stand_for_themselves() -> None:
    exemplar = Exemplar("Who?", "Bo.")
    assert read_exemplars([exemplar, exemplar]) == (exemplar, exemplar)


def test_the_embedded_world_has_exemplars_of_one_and_of_two_hops() -> None:
    answers = [exemplar.answer for exemplar in read_exemplars("demo")]
    assert [answer.count(". ") for answer in answers] == [1, 2]
    assert all("So the answer is" in answer for answer in answers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds no exemplars; leave --data.exemplars out"),
        ("[{}]", r"field '0.question': Field required"),
        ('[{"question": "Who?", "answer": 3}]', r"field '0.answer': Input should be a valid str"),
        ("{}", "Input should be a valid array"),
        ("no", "Invalid JSON"),
    ],
)
def test_a_file_without_exemplars_is_refused_with_its_name(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "shots.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"shots.json: {message}"):
        read_exemplars(file)


def test_a_missing_file_of_exemplars_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a JSON list of exemplars"):
        read_exemplars(tmp_path / "none.json")


def test_none_are_read_where_no_file_is_named() -> None:
    assert read_exemplars(None) == ()
