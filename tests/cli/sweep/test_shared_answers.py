"""Methods in which no adapter has a part are asked once for all runs that answer alike."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from prag_lightning.adapters.bank import Route
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import Answers
from prag_lightning.cli.exit_status import DONE
from prag_lightning.cli.main import main
from prag_lightning.cli.sweep.command import run_sweep
from prag_lightning.cli.sweep.plan import SweepPlanner
from prag_lightning.cli.sweep.shared_answers import OF_ADAPTERS, OF_RETRIEVAL, answer_digests
from prag_lightning.documents.records import read_records
from prag_lightning.evaluation.scores import Prediction
from prag_lightning.module import ParametricRAG
from tests.cli.sweep.conftest import CommandsHere, options

SHARED = {"closed_book", "rag", "rag_gold"}


class CountedQuestions:
    """Counts the questions that the model is asked, by method."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: Counter[str] = Counter()
        answer = ParametricRAG.answer

        def counted(module: ParametricRAG, batch: QuestionBatch, route: Route | None) -> Answers:
            self.asked[batch.method] += len(batch.questions)
            return answer(module, batch, route)

        monkeypatch.setattr(ParametricRAG, "answer", counted)


def words_for(base_dir: Path, world: Path, root: Path, methods: str | None) -> list[str]:
    words = options(base_dir, world, root)
    words[words.index("--data.limit") + 1] = "3"
    at = words.index("--data.methods")
    given = [] if methods is None else ["--data.methods", methods]
    return [*words[:at], *given, *words[at + 2 :]]


def results(folder: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Predictions and scores of a run, without the time that they took."""
    predictions = [
        one.model_dump() for one in read_records(folder / "predictions.jsonl", Prediction)
    ]
    scores = json.loads((folder / "scores.json").read_text())
    for one in predictions:
        del one["seconds"]
    for score in scores:
        del score["questions_per_second"]
    return predictions, scores


@pytest.mark.parametrize(
    ("methods", "over", "last"),
    [
        ("[rag,own,closed_book,prag]", ["merge=sum,mean", "rank=1,2"], "merge=mean,rank=2"),
        pytest.param(None, ["rank=1,2"], "rank=2", marks=pytest.mark.slow),
    ],
)
def test_every_question_is_asked_once_and_every_run_has_all_answers(
    methods: str | None,
    over: list[str],
    last: str,
    base_dir: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = CountedQuestions(monkeypatch)
    root = tmp_path / "swept"
    words = words_for(base_dir, world, root, methods)
    axes = [word for axis in over for word in ("--over", axis)]
    assert run_sweep([*axes, *words], CommandsHere()) == DONE
    num_runs = 2 ** len(over)
    num_questions = counted.asked["own"] // num_runs
    assert num_questions >= 3
    for name, num_asked in counted.asked.items():
        assert num_asked == num_questions * (1 if name in SHARED else num_runs), name
    # The run that has taken most is as if it had asked for itself.
    alone = tmp_path / "alone"
    same = [*words_for(base_dir, world, alone, methods), "--model.lora.rank=2"]
    same += ["--evaluation.merge=mean"] if "merge" in last else []
    assert main(["fit", *same]) == main(["test", *same]) == 0
    taken = root / "sweep" / last
    assert results(taken) == results(alone)
    settings, own = (yaml.safe_load((f / "test.yaml").read_text()) for f in (taken, alone))
    assert settings["data"] == own["data"]
    assert "rag: the answers are those of " in (taken / "log.txt").read_text()
    # And its row of the table is, too.
    header, *rows = (root / "sweep" / "sweep.csv").read_text().splitlines()
    row = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    for score in results(alone)[1]:
        kind = "" if score["type"] == "all" else f".{score['type']}"
        assert row[f"{score['method']}{kind}.em"] == f"{score['em']:.4f}"


@pytest.mark.slow
def test_a_sweep_that_goes_on_takes_what_was_answered_before_while_the_files_are_the_same(
    base_dir: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_for(base_dir, world, tmp_path, "[closed_book,rag,own]")
    assert run_sweep(["--over", "rank=1", *words], CommandsHere()) == DONE
    counted = CountedQuestions(monkeypatch)
    assert run_sweep(["--over", "rank=1,2", *words], CommandsHere()) == DONE
    assert set(counted.asked) == {"own"}
    # Of a run whose files were replaced since, nothing is taken: `prag test` in it, by hand.
    for name in ("rank=1", "rank=2"):
        scores = tmp_path / "sweep" / name / "scores.json"
        scores.write_text(scores.read_text().replace('"f1": ', '"f1": 1'))
    assert run_sweep(["--over", "rank=1,2,4", *words], CommandsHere()) == DONE
    assert counted.asked["closed_book"] > 0
    # Questions that were written anew may be others.
    counted.asked.clear()
    (world / "questions.jsonl").touch()
    assert run_sweep(["--over", "rank=8", *words], CommandsHere()) == DONE
    assert counted.asked["closed_book"] > 0


@pytest.fixture(scope="module")
def planner(base_dir: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepPlanner:
    return SweepPlanner(options(base_dir, world, tmp_path_factory.mktemp("root")))


@pytest.mark.parametrize(
    ("over", "differ"),
    [
        ("rank=1,2", set()),
        ("model.lr=1e-3,2e-3", set()),
        ("warm_start.seed=0,1", set()),
        ("merge=sum,mean", set()),
        ("passes=1,2", set()),
        ("objective=next_token,distill", set()),
        ("adapter_writer.dtype=float32,int8", set()),
        ("data.methods=[rag],[rag,own]", set()),
        ("top_k=1,2", {"rag"}),
        ("data.retriever=null,dense", {"rag"}),
        ("data.template=direct,chain_of_thought", SHARED),
        ("data.limit=1,2", SHARED),
        ("max_new_tokens=1,2", SHARED),
        ("decoding=greedy,base", SHARED),
        ("scoring=strict,published", SHARED),
        ("model.dtype=float32,bfloat16", SHARED),
        ("question_batch_size=1,2", SHARED),
        ("trainer.precision=32-true,bf16-mixed", SHARED),
        ("data.max_tokens=100,200", SHARED),
    ],
)
def test_answers_are_shared_by_runs_that_differ_in_what_makes_adapters_only(
    over: str, differ: set[str], planner: SweepPlanner
) -> None:
    one, other = (answer_digests(run.settings) for run in planner.plan([over]))
    assert set(one) == SHARED
    assert {name for name in SHARED if one[name] != other[name]} == differ


def test_all_that_is_left_out_is_a_setting_and_what_is_not_known_counts(
    planner: SweepPlanner,
) -> None:
    (run,) = planner.plan(["rank=1"])
    for key in (*OF_ADAPTERS, *OF_RETRIEVAL):
        place = run.settings
        for part in key.split("."):
            assert part in place, key
            place = place[part]
    one = answer_digests(run.settings)
    new = {**run.settings, "data": {**run.settings["data"], "brand_new": 1}}
    assert all(answer_digests(new)[name] != one[name] for name in SHARED)
