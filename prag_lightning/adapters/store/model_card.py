"""The files beside an exported adapter: its prompt, and a model card that shows its use."""

import json
import re
from collections.abc import Mapping, Sequence

from prag_lightning.adapters.store.recipe import Recipe

# Maximum number of documents that a card lists.
_MOST_NAMED = 20
_QUESTION = "Where was Ada Lovelace born?"
_FIELD = re.compile(r"\{\{|\}\}|\{passages\}|\{exemplars\}")
_CARD = """\
---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags: [lora, parametric-rag]
---

# {title}

A LoRA adapter that holds text in the weights of {base} instead of in the prompt (parametric
retrieval-augmented generation, arXiv:2501.15915). Written by prag-lightning.

| | |
|---|---|
{rows}

## Prompt

{prompt}
"""
_PROMPT = """\
The adapter knows what it knows in the words of its training; asked in others, it may answer as if
it had not been trained. The user says

````text
{user}
````

and the assistant's turn begins with `{start}`. `prompt.json` has the same, field by field.

## Example

```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {base}
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), ".")

question = {question}
user = {user_code}.replace("{{question}}", question)
text = {text_code} + {start_code}
ids = tokenizer(text, add_special_tokens={special}, return_tensors="pt").input_ids
with torch.inference_mode():
    output = model.generate(input_ids=ids, max_new_tokens=20, do_sample=False)
print(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
```
"""
_UNKNOWN_PROMPT = """\
The store of this adapter was made by a version that did not keep the prompt. The settings of the
run name it (`data.template` and `data.exemplars` in its `fit.yaml`): ask in the same words.
"""
_CHAT = """tokenizer.apply_chat_template(
    [{"role": "user", "content": user}], tokenize=False, add_generation_prompt=True
)"""


def card_files(recipe: Recipe, base_model: str, document_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the files that accompany an adapter, by name.

    They are ``README.md`` and, if the recipe has the prompt, ``prompt.json`` and a
    ``chat_template.jinja`` for servers.

    Args:
        recipe: Recipe of the adapter.
        base_model: Name or folder of the base model, as shown to users of the adapter.
        document_ids: The documents that the adapter contains.
    """
    files = {"README.md": _card(recipe, base_model, document_ids).encode()}
    if recipe.prompt is not None:
        prompt = dict(recipe.prompt)
        chat_template = prompt.pop("chat_template", "")
        files["prompt.json"] = (json.dumps(prompt, indent=2, ensure_ascii=False) + "\n").encode()
        if chat_template:
            files["chat_template.jinja"] = chat_template.encode()
    return files


def _card(recipe: Recipe, base_model: str, document_ids: Sequence[str]) -> str:
    count = len(document_ids)
    shown = [_cell(document_id) for document_id in document_ids[:_MOST_NAMED]]
    if count > len(shown):
        shown.append(f"and {count - len(shown)} more")
    lora = recipe.lora
    fields = {
        "documents": ", ".join(shown),
        "base model": f"{_cell(base_model)}, digest {recipe.base_digest}",
        "trained with": f"rank {lora.rank}, alpha {lora.alpha:g}, {', '.join(lora.target_modules)}",
        "warm start": recipe.warm_start,
        **{n: str(value) for n, value in sorted(recipe.training.items()) if value is not None},
    }
    return _CARD.format(
        base=json.dumps(base_model, ensure_ascii=False),
        title="Adapter of a document" if count == 1 else f"Adapter of {count} documents",
        rows="\n".join(f"| {name} | {value} |" for name, value in fields.items()),
        prompt=_prompt(recipe.prompt or {}, base_model),
    )


def _prompt(prompt: Mapping[str, str], base_model: str) -> str:
    """Return how to ask a question without passages, with code."""
    if "user" not in prompt or "assistant_start" not in prompt:
        return _UNKNOWN_PROMPT
    fields = {"{passages}": "", "{exemplars}": prompt.get("exemplars", ""), "{{": "{", "}}": "}"}
    # `str.format` can access attributes, and the store may be untrusted.
    user = _FIELD.sub(lambda field: fields[field[0]], prompt["user"])
    start = prompt["assistant_start"]
    has_chat = bool(prompt.get("chat_template"))
    return _PROMPT.format(
        user=user,
        start=start,
        base=json.dumps(base_model),
        user_code=json.dumps(user),
        question=json.dumps(_QUESTION),
        text_code=_CHAT if has_chat else 'user + "\\n"',
        start_code=json.dumps(start),
        special=not has_chat,
    )


def _cell(text: str) -> str:
    """Escape a text for use in a Markdown table."""
    return json.dumps(text, ensure_ascii=False).replace("|", "\\|").replace("`", "'")
