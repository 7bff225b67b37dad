"""The published experiments: three models (one of them twice) on four data sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import yaml

from prag_lightning.cli.main import main
from prag_lightning.cli.sweep.plan import SweepPlanner
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Document, read_records
from prag_lightning.evaluation.scores import Prediction
from prag_lightning.language_model.templates import TEMPLATES
from prag_lightning.module import ParametricRAG

PUBLISHED = Path(__file__).parents[2] / "configs" / "published"
SAMPLES = Path(__file__).parents[1] / "documents" / "samples"
LLAMA_1B, QWEN = "llama-3.2-1b-instruct", "qwen2.5-1.5b-instruct"
LLAMA_8B, LLAMA_8B_4BIT = "llama-3-8b-instruct", "llama-3-8b-instruct-4bit"
# Names on the hub, dtypes and quantization (Su et al. 2025, section 4.3; the last one is ours).
MODELS: dict[str, tuple[str, str, str | None]] = {
    LLAMA_1B: ("meta-llama/Llama-3.2-1B-Instruct", "float32", None),
    QWEN: ("Qwen/Qwen2.5-1.5B-Instruct", "float32", None),
    LLAMA_8B: ("meta-llama/Meta-Llama-3-8B-Instruct", "float32", None),
    LLAMA_8B_4BIT: ("meta-llama/Meta-Llama-3-8B-Instruct", "bfloat16", "nf4"),
}
# Prompt, new tokens and passes, as in the configs of the published code.
DATASETS = {
    "2wikimultihopqa": ("chain_of_thought", 128, 1),
    "hotpotqa": ("chain_of_thought", 128, 1),
    "popqa": ("direct", 20, 2),
    "complexwebquestions": ("direct", 20, 1),
}
EXEMPLAR = {"question": "Who was Ada?", "answer": "She drew. So the answer is artist."}
# Passages that share words with the sample questions, in the form of DPR's table.
PASSAGES = """\
id\ttext\ttitle
1\tAda Pell was a painter of boats. She was born in Lund in 1901. The Red Boat is hers.\tAda Pell
2\tBo Lund was a driver in Oslo. He was born in 1905. His sister was a painter there.\tBo Lund
3\tThe Pell is a long river. It flows into the North Sea. Two towns are on it.\tPell (river)
4\tGeorge Rankin was a politician. He was born in England. His occupation was law.\tGeorge Rankin
5\tLou Seal is a mascot in baseball. The World Series was last won in 2014. It is big.\tLou Seal
6\tThe escudo is a currency of islands. Cape Verde is a nation. It lies off Africa.\tEscudo
"""


def parts(model: str, dataset: str) -> list[str]:
    """The configs of an experiment, as options."""
    files = ["published", f"models/{model}", f"datasets/{dataset}"]
    if (model, dataset) == (QWEN, "hotpotqa"):
        files.append("qwen2.5-1.5b-instruct-hotpotqa")
    return [word for name in files for word in ("--config", str(PUBLISHED / f"{name}.yaml"))]


def test_the_tables_here_name_every_file() -> None:
    expected = {"published", "qwen2.5-1.5b-instruct-hotpotqa"}
    expected |= {f"models/{name}" for name in MODELS} | {f"datasets/{name}" for name in DATASETS}
    files = PUBLISHED.rglob("*.yaml")
    assert {str(file.relative_to(PUBLISHED).with_suffix("")) for file in files} == expected


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_experiment_has_the_published_settings(
    model: str, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *parts(model, dataset), "--print_config"]) == 0
    config = yaml.safe_load(capfd.readouterr().out)
    base, dtype, quantization = MODELS[model]
    template, max_new_tokens, passes = DATASETS[dataset]
    found = config["model"]
    assert found["lora"] == {
        "rank": 2,
        "alpha": 32.0,
        "target_modules": ["down_proj", "gate_proj", "up_proj"],
    }
    assert (found["base"], found["dtype"], found["quantization"]) == (base, dtype, quantization)
    assert (found["lr"], found["weight_decay"], found["max_grad_norm"]) == (3e-4, 0.01, None)
    assert found["max_new_tokens"] == max_new_tokens
    data = config["data"]
    assert data["passes"] == (2 if (model, dataset) == (QWEN, "hotpotqa") else passes)
    assert (data["batch_size"], data["top_k"], data["limit"]) == (1, 3, 300)
    assert (data["objective"], data["loss_on"]) == ("next_token", "auto")
    assert (data["passage_in_prompt"], data["few_shot_in_training"]) == ("half", True)
    assert data["template"] == template
    exemplars = f"data/{dataset}/exemplars.json" if template == "chain_of_thought" else None
    assert data["exemplars"] == exemplars
    assert data["folder"] == f"data/{dataset}"
    assert data["retriever"]["init_args"]["run_file"] == f"data/{dataset}/retrieved.trec"
    assert (config["evaluation"]["merge"], config["evaluation"]["scoring"]) == ("sum", "published")
    assert config["warm_start"]["path"] == "random"


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_experiment_can_be_made_with_a_stand_in_base(
    model: str, dataset: str, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"data/{dataset}").mkdir(parents=True)
    Path(f"data/{dataset}/exemplars.json").write_text(json.dumps([EXEMPLAR]))
    stand_in = [f"--model.base={base_dir}", "--trainer.accelerator=cpu"]
    made = SweepPlanner([*parts(model, dataset), *stand_in])
    module, data = cast(ParametricRAG, made.model), cast(DocumentDataModule, made.datamodule)
    assert (module.base_name, module.quantization) == (str(base_dir), MODELS[model][2])
    assert data.encoder.template is TEMPLATES[DATASETS[dataset][0]]
    assert len(data.training_encoder.exemplars) == (DATASETS[dataset][0] == "chain_of_thought")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Prepares a data set's folder in the working directory, by the commands of its header."""
    monkeypatch.chdir(tmp_path)

    def prepare(dataset: str, source: Path) -> None:
        Path("psgs_w100.tsv").write_text(PASSAGES)
        folder, wiki = f"data/{dataset}", "data/wiki/documents.jsonl"
        for command in (
            "data convert dpr psgs_w100.tsv data/wiki",
            "index bm25 data/wiki",
            f"data convert {dataset} {source} {folder}/questions --limit 300",
            f"data retrieve {folder}/questions/questions.jsonl {wiki} data/wiki/index {folder}",
            f"augment template {folder}/documents.jsonl",
        ):
            assert main(command.split()) == 0
        Path(f"{folder}/exemplars.json").write_text(json.dumps([EXEMPLAR]))

    return prepare


@pytest.mark.parametrize(
    ("model", "dataset", "source"),
    [
        (LLAMA_1B, "2wikimultihopqa", "2wikimultihopqa"),
        (QWEN, "hotpotqa", "hotpotqa.json"),
        (LLAMA_8B, "popqa", "popQA.tsv"),
        (LLAMA_8B_4BIT, "complexwebquestions", "ComplexWebQuestions_dev.json"),
    ],
)
def test_an_experiment_runs_from_the_data_set_s_own_files_to_its_scores(
    model: str, dataset: str, source: str, base_dir: Path, data: Callable[[str, Path], None]
) -> None:
    data(dataset, SAMPLES / source)
    options = [*parts(model, dataset), "--model.base", str(base_dir), "--trainer.accelerator=cpu"]
    small = ["--trainer.default_root_dir", "run", "--model.num_slots", "2"]
    assert main(["fit", *options, *small]) == 0
    assert main(["test", *options, *small]) == 0
    num_questions = len(Path(f"data/{dataset}/questions.jsonl").read_text().splitlines())
    scores = {
        score["method"]: score
        for score in json.loads(Path("run/scores.json").read_text())
        if score["type"] == "all"
    }
    assert list(scores) == ["closed_book", "rag", "prag", "combine"]
    assert {score["num_questions"] for score in scores.values()} == {num_questions}
    if DATASETS[dataset][0] == "direct":
        # Behind a chain of thought no likelihood of the answer is known.
        assert scores["prag"]["answer_nll"] < scores["closed_book"]["answer_nll"]
    documents = {d.id for d in read_records(f"data/{dataset}/documents.jsonl", Document)}
    for prediction in read_records("run/predictions.jsonl", Prediction):
        merged = [evidence.document_id for evidence in prediction.adapters]
        assert set(merged) <= documents
        assert bool(merged) == (prediction.method in ("prag", "combine"))
        assert {evidence.weight for evidence in prediction.adapters} <= {1.0}
