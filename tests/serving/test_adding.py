"""Documents that are added while a service runs, and services that are killed and stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.documents.records import Augmentation, Document, read_records
from tests.serving.conftest import fit
from tests.serving.running import question, running, wait_until_ready

pytestmark = pytest.mark.slow
MAY_TAKE_S = 240


@pytest.fixture
def own_run(tmp_path: Path, base_dir: Path) -> Path:
    """A run that a test may change."""
    fit(base_dir, tmp_path / "world", tmp_path / "run")
    return tmp_path / "run"


def texts(number: int) -> list[dict[str, str]]:
    """Return documents to add."""
    names = ["Zadok", "Yvaine", "Xerxes", "Wendel", "Vesper", "Ulrike"][:number]
    return [
        {
            "id": f"people/{name}",
            "title": f"<b>{name}</b>",
            "text": f"{name} Ferrow was born in Maplewick. {name} Ferrow works as a baker.",
        }
        for name in names
    ]


def wait_until_stored(client: httpx.Client, ids: list[str]) -> None:
    begun = time.monotonic()
    states: list[Any] = []
    while time.monotonic() - begun < MAY_TAKE_S:
        states = [client.get(f"/v1/documents/{name}").json() for name in ids]
        assert not [state for state in states if state["state"] == "failed"]
        if all(state["state"] == "stored" for state in states):
            return
        time.sleep(0.2)
    raise AssertionError(states)


def test_an_added_document_is_answered_from_as_soon_as_it_is_stored(own_run: Path) -> None:
    [document] = texts(1)
    with running(own_run) as service:
        client = service.client
        accepted = client.post("/v1/documents", json=document)
        assert accepted.status_code == 202
        assert accepted.json()["state"] == "waiting"
        conflict = client.post("/v1/documents", json={**document, "text": "Something else."})
        assert conflict.status_code == 409
        # It has no sentence that a template could ask about.
        nothing = {"id": "empty", "text": "..."}
        assert client.post("/v1/documents", json=nothing).status_code == 202
        wait_until_stored(client, [document["id"]])
        state = client.get(f"/v1/documents/{document['id']}").json()
        assert state["title"] == document["title"]
        assert state["finished"] >= accepted.json()["accepted"]
        assert client.post("/v1/documents", json=document).status_code == 200
        conflict = client.post("/v1/documents", json={**document, "text": "Something else."})
        assert conflict.status_code == 409
        while (empty := client.get("/v1/documents/empty").json())["state"] != "failed":
            time.sleep(0.1)
        assert "augmented" in empty["problem"] or "questions" in empty["problem"]
        body = question("Where was Zadok Ferrow born?")
        answer = client.post("/v1/chat/completions", json=body).json()
        assert answer["prag"]["documents"][0]["id"] == document["id"]
        assert answer["prag"]["documents"][0]["has_adapter"]
        latest = client.get("/v1/documents").json()
        assert latest["num_stored"] == 7
        assert [one["id"] for one in latest["data"]][:2] == ["empty", document["id"]]


@contextmanager
def served_by_a_process(run_dir: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [sys.executable, "-m", "prag_lightning", "serve", "--run", str(run_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("PRAG_API_KEY", None)
    with subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        log = threading.Thread(target=read_log, args=(process,), daemon=True)
        log.start()
        try:
            url = re.findall(r"http://\S+:\d+", process.stdout.readline())[0]
            with httpx.Client(base_url=url, timeout=60) as client:
                wait_until_ready(client)
                yield process, client
        finally:
            process.kill()
            log.join()


def read_log(process: subprocess.Popen[str]) -> None:
    """Read the log of a service, of which every line is JSON and none says what was asked."""
    assert process.stderr is not None
    for line in process.stderr:
        # What is printed while the run is loaded, or an index is built.
        if line.startswith("{"):
            assert json.loads(line)["level"] in ("INFO", "WARNING")
        assert "Ada" not in line


def test_nothing_that_was_accepted_is_lost_when_the_service_is_killed(own_run: Path) -> None:
    documents = texts(6)
    for number, seconds in enumerate((0.0, 4.0, 9.0)):
        with served_by_a_process(own_run) as (process, client):
            for document in documents[2 * number : 2 * number + 2]:
                assert client.post("/v1/documents", json=document).status_code == 202
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
    ids = [document["id"] for document in documents]
    with served_by_a_process(own_run) as (process, client):
        wait_until_stored(client, ids)
        process.terminate()
        assert process.wait(MAY_TAKE_S) == 0
    folder = own_run.parent / "world"
    for file, kind in (("documents", Document), ("augmentations", Augmentation)):
        records: Any = list(read_records(folder / f"{file}.jsonl", kind))
        found = [r.id if isinstance(r, Document) else r.document_id for r in records]
        assert len(set(found)) == len(found) == 12
        assert set(ids) < set(found)
    with open_store(own_run / "adapters", mode="read") as store:
        assert set(ids) < set(store.ids())
        assert store.get_many(ids).isfinite().all()
    lines = (own_run / "serving" / "additions.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == set(ids)
    assert not list((own_run / "serving").glob("encoding-*"))


def test_sigterm_finishes_what_runs_and_ends_with_0(own_run: Path) -> None:
    with served_by_a_process(own_run) as (process, client):
        begun: list[int] = []
        said: list[str] = []

        def listen() -> None:
            body = question("Where was Ada born?", "rag", stream=True)
            # Whoever comes later finds nobody.
            with (
                suppress(httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError),
                client.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                begun.append(response.status_code)
                said.extend(response.iter_lines())

        listeners = [threading.Thread(target=listen) for _ in range(8)]
        for listener in listeners:
            listener.start()
        while not begun:
            time.sleep(0.001)
        process.terminate()
        for listener in listeners:
            listener.join()
        assert process.wait(MAY_TAKE_S) == 0
        assert said.count("data: [DONE]") == len(begun) >= 1


def test_a_run_that_cannot_be_opened_ends_the_service_in_one_line(own_run: Path) -> None:
    shutil.rmtree(own_run / "adapters")
    command = [sys.executable, "-m", "prag_lightning", "serve", "--run", str(own_run)]
    ended = subprocess.run(
        [*command, "--port", "0"], capture_output=True, text=True, timeout=MAY_TAKE_S
    )
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("prag: ")
    assert "Traceback" not in ended.stderr
