"""The command as users run it, in this process."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    Question,
    read_records,
    write_records,
)
from prag_lightning.evaluation.scores import Prediction

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of six people."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=6)
    return folder


def options(base_dir: Path, world: Path, root: Path) -> list[str]:
    return [
        *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "3", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "3", "--data.folder", str(world), "--data.num_qas", "3"),
    ]


def adapters(root: Path) -> dict[str, Tensor]:
    with open_store(str(root / "adapters"), mode="read") as store:
        ids = sorted(store.ids())
        return dict(zip(ids, store.get_many(ids), strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, world: Path) -> Path:
    """Root folder of a run of ``prag fit`` and ``prag test``."""
    root = tmp_path_factory.mktemp("run")
    assert main(["fit", *options(base_dir, world, root)]) == 0
    assert main(["test", *options(base_dir, world, root)]) == 0
    return root


def test_every_document_is_encoded_and_every_question_answered_by_every_method(
    run: Path, world: Path
) -> None:
    documents = {document.id for document in read_records(world / "documents.jsonl", Document)}
    questions = {question.id for question in read_records(world / "questions.jsonl", Question)}
    assert adapters(run).keys() == documents
    by_method: dict[str, set[str]] = {}
    for prediction in read_records(run / "predictions.jsonl", Prediction):
        by_method.setdefault(prediction.method, set()).add(prediction.question_id)
    methods = ["closed_book", "rag", "rag_gold", "prag", "own", "other", "random", "combine"]
    assert list(by_method) == methods
    assert all(answered == questions for answered in by_method.values())


def test_the_scores_are_the_means_of_the_predictions(run: Path) -> None:
    predictions = list(read_records(run / "predictions.jsonl", Prediction))
    scores = json.loads((run / "scores.json").read_text())
    assert {score["type"] for score in scores} == {"all", "one_hop", "two_hop"}
    for score in scores:
        group = [
            p
            for p in predictions
            if p.method == score["method"] and score["type"] in ("all", p.type)
        ]
        assert score["num_questions"] == len(group)
        for name in ("em", "f1", "precision", "recall", "answer_nll"):
            mean = sum(getattr(p, name) for p in group) / len(group)
            assert score[name] == pytest.approx(mean, abs=1e-5)


def test_a_document_s_own_adapter_makes_its_answers_likelier_than_a_stranger_s(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    nll = {s["method"]: s["answer_nll"] for s in scores if s["type"] == "all"}
    assert nll["own"] < nll["other"] < nll["closed_book"]
    # Noise of the same size, and nothing at all, teach nothing.
    assert abs(nll["random"] - nll["closed_book"]) < 0.1 * (nll["closed_book"] - nll["own"])


def test_a_second_run_encodes_nothing_again_and_changes_nothing(
    run: Path, base_dir: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = adapters(run)
    assert main(["fit", *options(base_dir, world, run)]) == 0
    assert "6 documents, 6 of them encoded before" in capfd.readouterr().out
    after = adapters(run)
    assert all(torch.equal(row, after[document_id]) for document_id, row in before.items())


def test_a_document_that_is_added_later_is_encoded_alone(
    run: Path, base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fewer, root = tmp_path / "world", tmp_path / "run"
    shutil.copytree(world, fewer)
    documents = list(read_records(world / "documents.jsonl", Document))
    write_records(fewer / "documents.jsonl", documents[:-1])
    assert main(["fit", *options(base_dir, fewer, root)]) == 0
    assert main(["fit", *options(base_dir, world, root)]) == 0
    assert "6 documents, 5 of them encoded before" in capfd.readouterr().out
    for document_id, row in adapters(root).items():
        torch.testing.assert_close(row, adapters(run)[document_id], rtol=0, atol=1e-5)


def test_a_document_without_question_answer_pairs_is_listed_and_the_status_says_so(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "world"
    shutil.copytree(world, more)
    documents = list(read_records(world / "documents.jsonl", Document))
    write_records(more / "documents.jsonl", [*documents, Document(id="bare", text="Nothing.")])
    assert main(["fit", *options(base_dir, more, tmp_path / "run")]) == 3
    out = capfd.readouterr().out
    assert "6 of 7 documents are in" in out
    assert "not encoded: bare: it has no question-answer pairs" in out


def test_a_document_whose_text_has_changed_is_encoded_anew_and_no_other(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other, root = tmp_path / "world", tmp_path / "run"
    shutil.copytree(world, other)
    first, *rest = read_records(world / "documents.jsonl", Document)
    assert main(["fit", *options(base_dir, other, root)]) == 0
    before = adapters(root)
    changed = first.model_copy(update={"text": first.text + " More."})
    write_records(other / "documents.jsonl", [changed, *rest])
    assert main(["fit", *options(base_dir, other, root)]) == 3
    said = capfd.readouterr().out
    assert f"not encoded: {first.id}: it was edited since it was augmented" in said
    augmentations = [
        augmentation.model_copy(update={"text_digest": text_digest(changed)})
        if augmentation.document_id == first.id
        else augmentation
        for augmentation in read_records(other / "augmentations.jsonl", Augmentation)
    ]
    write_records(other / "augmentations.jsonl", augmentations)
    assert main(["fit", *options(base_dir, other, root)]) == 0
    said = capfd.readouterr().out
    assert "6 documents, 5 of them encoded before" in said
    assert "1 of them have changed, and are encoded anew" in said
    after = adapters(root)
    assert after.keys() == before.keys()
    unequal = {name for name, row in after.items() if not torch.equal(row, before[name])}
    assert unequal == {first.id}
    # As if it had been so from the start.
    assert main(["fit", *options(base_dir, other, tmp_path / "fresh")]) == 0
    fresh = adapters(tmp_path / "fresh")[first.id]
    torch.testing.assert_close(after[first.id], fresh, rtol=0, atol=1e-5)


def test_other_settings_are_refused_with_both_values(
    run: Path, base_dir: Path, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (run / "fit.yaml").read_bytes()
    assert main(["fit", *options(base_dir, world, run), "--data.passes", "2"]) == 2
    # What the report says of the adapters that are there.
    assert (run / "fit.yaml").read_bytes() == settings
    assert "training.passes: the store has 1, this run asks for 2" in capfd.readouterr().err


def test_a_warm_start_is_where_training_starts(
    base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    peft = ["--adapter_writer.layout", "peft"]
    assert main(["fit", *options(base_dir, world, tmp_path / "first"), *peft]) == 0
    start = next((tmp_path / "first" / "adapters").rglob("adapter_model.safetensors"))
    # So small a rate that training does not leave the start.
    warm = ["--warm_start.path", str(start.parent), "--model.lr", "1e-9"]
    assert main(["fit", *options(base_dir, world, tmp_path / "second"), *warm]) == 0
    with open_store(str(tmp_path / "second" / "adapters"), mode="read") as store:
        row = store.layout.join(safetensors.torch.load_file(start), "start")
    cold, hot = adapters(tmp_path / "first"), adapters(tmp_path / "second")
    for document_id in hot:
        torch.testing.assert_close(hot[document_id], row, rtol=0, atol=1e-6)
    assert max((other - row).abs().max() for other in cold.values()) > 1e-3
    # The store remembers it.
    assert main(["test", *options(base_dir, world, tmp_path / "second")]) == 2
    assert "warm_start" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fitt"], "there is no command 'fitt'; did you mean 'fit'?"),
        (["ask", "Who?", "--methods", "[own]"], "there is no method 'own' to ask; choose from"),
        (["augment", "template", "x", "--num_qas", "some"], "prag augment template: Parser key"),
        (["index", "bm52", "x"], "bm52"),
        (["fit", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["fit", "--model.lora.rnk", "3"], "--model.lora.rnk"),
        (["fit", "--model.lora.rank", "x"], "model.lora.rank"),
        (["fit", "--data.folder", "nowhere"], "nowhere/documents.jsonl: no such file"),
        (["test", "--evaluation.merge", "product"], "there is no merge rule 'product'"),
        (
            ["fit", "--trainer.callbacks", "prag_lightning.callbacks.AdapterWriter"],
            "give its settings under the key 'adapter_writer'",
        ),
        (["fit", "--trainer.devices", "0"], "devices"),
        (["fit", "--trainer.devices", "-1"], "Lightning's Trainer refuses its settings: `devices`"),
        (["fit", "--trainer.accelerator", "tpu"], "torch_xla"),
        (["report"], "prag report: the following arguments are required: RUN; see"),
        (["configs", "demo", "demo"], "prag configs: unrecognized arguments: demo; see"),
        (["augment", "template"], "are required: template.documents"),
        (["augment", "endpoint", ".", "--url", "http://localhost:99999"], "give one like http"),
        (
            ["fit", "--trainer.strategy", "ddp", "--trainer.devices", "2"],
            "use --trainer.strategy per_document",
        ),
    ],
)
def test_bad_input_gets_one_line_and_status_2(
    words: list[str],
    message: str,
    base_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trainer = ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)]
    known = [*trainer, "--model.base", str(base_dir)] if words[0] in ("fit", "test") else []
    try:
        status = main([words[0], *known, *words[1:]])
    except SystemExit as stop:
        status = int(stop.code or 0)
    error = capfd.readouterr().err
    assert status == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_every_config_fits_the_code(
    config: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", str(config), "--print_config"]) == 0
    assert "default_root_dir" in capfd.readouterr().out


def test_ctrl_c_ends_any_command_with_its_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(args: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("prag_lightning.cli.ask.run_ask", interrupt)
    assert main(["ask", "Who?"]) == 130
    assert capfd.readouterr().err == "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--config", "demo", "--trainer.default_root_dir", "FILE"], "Not a directory"),
        (["data", "convert", "text", "FILE", "FILE"], "File exists"),
        (["report", "RUN", "--output", "."], "Is a directory"),
    ],
    ids=["fit", "convert", "report"],
)
def test_a_path_that_is_something_else_is_one_line(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    file = tmp_path / "file.txt"
    file.write_text("text")
    known = {"FILE": str(file), "RUN": str(run), ".": str(tmp_path)}
    assert main([known.get(word, word) for word in words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("prag: ")
    assert message in line


def test_help_lists_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "encode documents into adapters" in capfd.readouterr().out


def test_a_run_that_the_disk_cannot_hold_is_refused_before_it_begins(
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("prag_lightning.callbacks.adapter_writer.free_bytes", lambda folder: 1000)
    assert main(["fit", *options(base_dir, world, tmp_path)]) == 75
    assert "the adapters of 6 documents take" in capfd.readouterr().err
    nevertheless = ["--adapter_writer.check_free_space", "false"]
    assert main(["fit", *options(base_dir, world, tmp_path), *nevertheless]) == 0


def test_a_question_without_answers_is_refused_before_any_is_answered(
    run: Path, base_dir: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "world"
    shutil.copytree(world, bare)
    first, *rest = read_records(world / "questions.jsonl", Question)
    write_records(bare / "questions.jsonl", [first.model_copy(update={"answers": []}), *rest])
    assert main(["test", *options(base_dir, bare, run)]) == 2
    assert f"question '{first.id}' has no 'answers'" in capfd.readouterr().err
