"""Augmentation from Python, by short name, by class path, or by an object."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.by_name import SHORT_NAMES, make_augmenter
from prag_lightning.augmentation.endpoint_augmenter import EndpointAugmenter
from prag_lightning.augmentation.in_memory import augment_all
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.augmentation.template import TemplateAugmenter
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
from prag_lightning.documents.digests import augmentation_is_current
from prag_lightning.documents.records import Augmentation, Document
from tests.augmentation.chat_server_double import ChatServerDouble


class Shouting(Augmenter):
    """Rewrites in capitals."""

    def __init__(self, mark: str = "!", times: int = 1) -> None:
        self.mark = mark
        self.times = times

    def augment(self, documents: Sequence[Document]) -> Iterator[Augmentation | Failure]:
        for document in reversed(documents):
            rewrites = [document.text.upper() + self.mark] * self.times
            yield Augmentation(document_id=document.id, rewrites=rewrites, qas=[])


@pytest.mark.parametrize(
    ("spec", "mark"),
    [
        (Shouting("?"), "?"),
        (f"{__name__}.Shouting", "!"),
        ({"class_path": f"{__name__}.Shouting", "init_args": {"mark": "?"}}, "?"),
        ({"class_path": f"{__name__}.Shouting"}, "!"),
    ],
    ids=["object", "class path", "class path and arguments", "class path in a mapping"],
)
def test_an_augmenter_of_ones_own_is_taken(
    spec: Augmenter | str | dict[str, Any], mark: str, documents: list[Document]
) -> None:
    made = augment_all(documents, spec)
    # In the order of the documents, whatever order they came in.
    assert [one.document_id for one in made] == [one.id for one in documents]
    assert made[0].rewrites == [documents[0].text.upper() + mark]
    assert all(map(augmentation_is_current, documents, made))
    edited = documents[0].model_copy(update={"text": "Other."})
    assert not augmentation_is_current(edited, made[0])


def test_short_names_stand_for_the_augmenters_of_the_command_line() -> None:
    assert isinstance(make_augmenter("template"), TemplateAugmenter)
    assert isinstance(make_augmenter("transformers"), TransformersAugmenter)
    assert isinstance(make_augmenter("endpoint"), EndpointAugmenter)
    settings = {"order": {"num_qas": 7, "pairs": "one_by_one"}, "sampling": {"temperature": 0.3}}
    made = make_augmenter({"class_path": "transformers", "init_args": settings})
    assert made.settings["num_qas"] == 7
    assert made.settings["temperature"] == 0.3
    assert len(SHORT_NAMES) == 3


def test_an_endpoint_is_asked_from_python(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    spec = {"class_path": "endpoint", "init_args": {"endpoint": {"url": server.url}}}
    made = augment_all(documents, spec)
    assert [len(one.qas) for one in made] == [3] * 5
    again = EndpointAugmenter(endpoint=make_augmenter(spec)._endpoint).augment(documents)  # type: ignore[attr-defined]
    assert sorted(again, key=lambda one: one.document_id) == made


def test_settings_of_ones_own_class_are_its_name_and_its_public_values() -> None:
    name = f"{Shouting.__module__}.Shouting"
    assert Shouting("?", 2).settings == {"generator": name, "mark": "?", "times": 2}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tempalte", "there is no augmenter 'tempalte'; did you mean 'template'"),
        ("no_such_module.Shouting", "augmenter 'no_such_module.Shouting' cannot be imported"),
        (f"{__name__}.Nobody", "cannot be imported: .*Nobody"),
        ("pathlib.Path", "'pathlib.Path' does not derive from"),
        (
            {"class_path": "template", "init_args": {"num_qas": "x"}},
            "augmenter 'template': .*num_qas",
        ),
        (
            {"class_path": "template", "init_args": {"nums": 1}},
            "augmenter 'template' has no setting 'nums'",
        ),
        (
            {"class_path": "template", "init_args": {"num_qas": None}},
            "num_qas needs a value, not null",
        ),
        (
            {"class_path": "transformers", "init_args": {"order": {"num_qas": None}}},
            "order.num_qas needs a value, not null",
        ),
        ({"class_path": None}, "give a name or an import path"),
        ({"class_path": "template", "num_qas": 3}, "give a name or an import path"),
        ({"class_path": "template", "init_args": {"num_qas": -1}}, "num_qas -1"),
    ],
)
def test_what_is_no_augmenter_is_refused_in_one_line(
    spec: str | dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_augmenter(spec)
    assert "\n" not in str(error.value)


def test_documents_that_give_nothing_are_left_out_and_said(
    documents: list[Document], capsys: pytest.CaptureFixture[str]
) -> None:
    documents[1:3] = [one.model_copy(update={"text": ""}) for one in documents[1:3]]
    made = augment_all(documents, "template")
    assert [one.document_id for one in made] == ["d0", "d3", "d4"]
    assert capsys.readouterr().err == (
        "2 of 5 documents could not be augmented: 'd1' (its sentences give 0 of 3 question-answer "
        "pairs) and 1 more\n"
    )


def test_two_documents_with_one_id_are_refused(documents: list[Document]) -> None:
    with pytest.raises(ValueError, match="two documents have one id"):
        augment_all([documents[0], documents[0]])
