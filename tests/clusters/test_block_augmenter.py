"""What of augmenting on a cluster needs no cluster: files, failures, refusals."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from prag_lightning.augmentation.base import Augmenter
from prag_lightning.augmentation.outcome_files import failures_file
from prag_lightning.augmentation.outcomes import Failure
from prag_lightning.augmentation.runner import run_augmentation
from prag_lightning.augmentation.template import TemplateAugmenter
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
from prag_lightning.cli.augment import augment_with_class, augment_with_transformers
from prag_lightning.clusters.block_augmenter import AugmentingTask, failed_outcome
from prag_lightning.clusters.ray_augmenter import RayAugmenter
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.documents.records import Augmentation, Document, read_records
from tests.clusters.ray_double import Killed, RayDouble

DOCUMENTS = [
    Document(id=f"d{n}", title=f"Ship {n}", text=f"Ship {n} was built in {1900 + n}. It is red.")
    for n in range(40)
]


class Disturbed(Augmenter):
    """Kills its worker at some documents, and raises an error at others."""

    def __init__(self, kill: Sequence[str] = (), fail: Sequence[str] = ()) -> None:
        self._kill, self._fail = kill, fail

    def augment(self, documents: Sequence[Document]) -> Iterator[Augmentation | Failure]:
        for document in documents:
            if document.id in self._kill:
                raise Killed
            if document.id in self._fail:
                raise RuntimeError("this document\nfails")
            yield Augmentation(document_id=document.id, rewrites=[document.text], qas=[])


def ids(output: Path) -> list[str]:
    return [made.document_id for made in read_records(output, Augmentation)]


def test_a_run_on_ray_goes_on_where_a_local_run_stopped_and_the_other_way_round(
    ray: RayDouble, tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run_augmentation(DOCUMENTS, TemplateAugmenter(), whole)
    run_augmentation(DOCUMENTS[:3], TemplateAugmenter(), output)
    summary = run_augmentation(DOCUMENTS[:30], RayAugmenter("template"), output)
    assert (summary.num_todo, summary.num_before) == (27, 3)
    assert run_augmentation(DOCUMENTS, TemplateAugmenter(), output).num_todo == 10
    assert sorted(output.read_text().splitlines()) == sorted(whole.read_text().splitlines())
    with pytest.raises(ValueError, match="num_qas was 3 and is 2"):
        run_augmentation(DOCUMENTS, RayAugmenter({"template": {"num_qas": 2}}), output)


def test_documents_that_kill_or_raise_are_named_and_all_others_are_augmented_once(
    ray: RayDouble, tmp_path: Path
) -> None:
    output = tmp_path / "a.jsonl"
    augmenter = RayAugmenter(Disturbed(kill=["d3"], fail=["d0", "d38"]))
    summary = run_augmentation(DOCUMENTS, augmenter, output)
    assert (summary.num_failed, summary.num_augmented, summary.num_missing) == (3, 37, 0)
    reasons = {f.document_id: f.reason for f in read_records(failures_file(output), Failure)}
    assert reasons == {
        "d0": "RuntimeError: this document fails",
        "d3": "each worker that augmented it died; it may take too much memory",
        "d38": "RuntimeError: this document fails",
    }
    assert sorted(ids(output)) == sorted({d.id for d in DOCUMENTS} - reasons.keys())


def test_an_error_at_every_document_ends_the_run_as_a_local_one(
    ray: RayDouble, tmp_path: Path
) -> None:
    augmenter = RayAugmenter(Disturbed(fail=[document.id for document in DOCUMENTS]))
    with pytest.raises(RuntimeError, match=r"^this document\nfails$"):
        run_augmentation(DOCUMENTS, augmenter, tmp_path / "a.jsonl")


def test_what_was_kept_of_a_document_stays_though_its_worker_dies() -> None:
    (document, *_), kept = DOCUMENTS, Augmentation(document_id="d0", rewrites=["a"], qas=[])
    earlier = Failure(document_id="d0", reason="no pair", missing=("pair 1",), kept=kept)
    outcome = failed_outcome(AugmentingTask(document, earlier), "died")
    assert outcome.augmentation == kept
    assert outcome.failure is not None
    assert (outcome.failure.reason, outcome.failure.missing) == ("died", ("pair 1",))
    assert failed_outcome(AugmentingTask(document, None), "died").augmentation is None


def test_settings_that_the_engine_would_ignore_are_refused(ray: RayDouble, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^devices is 2, which is for a local run"):
        augment_with_transformers(tmp_path, devices=2, engine="ray")
    with pytest.raises(ValueError, match=r"^devices is 2, which is for a local run"):
        RayAugmenter(TransformersAugmenter(devices=2))
    with pytest.raises(ValueError, match=r"^the settings under 'ray' need --engine ray$"):
        augment_with_transformers(tmp_path, ray=RayWorkers(num_workers=3))
    with pytest.raises(ValueError, match=r"^the settings under 'ray' need --engine ray$"):
        augment_with_class(tmp_path, "template", ray=RayWorkers(num_workers=3))


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ({"num_workers": 0}, "num_workers 0: give at least 1"),
        ({"cpus_per_worker": -1}, "cpus_per_worker -1: give at least 1"),
        ({"gpus_per_worker": -0.5}, "gpus_per_worker -0.5: give at least 0"),
    ],
)
def test_numbers_of_workers_that_cannot_be_are_refused(
    workers: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        RayWorkers(**workers)  # type: ignore[arg-type]
