"""The settings that produced a run's adapters and answers, as text."""

from collections.abc import Sequence

from prag_lightning.evaluation.report.run_folder import RunFolder

# Settings of locations, which do not affect the results.
_PLACES = ("trainer.default_root_dir", "model.store")
_OF_EVALUATION = (
    ("evaluation", "merge"),
    ("evaluation", "temperature"),
    ("evaluation", "scoring"),
    ("evaluation", "on_missing"),
    ("data", "top_k"),
    ("data", "retriever"),
    ("model", "max_new_tokens"),
    ("model", "decoding"),
)


def recipe_rows(run: RunFolder) -> dict[str, str]:
    """Return the relevant settings by name: those of the adapters first, then of the answers."""
    rows: dict[str, object] = {}
    if run.store is not None:
        recipe = run.store.manifest.recipe
        lora = recipe.lora
        rows |= {
            "base model": recipe.base_model,
            "LoRA": f"rank {lora.rank}, alpha {lora.alpha:g}, {', '.join(lora.target_modules)}",
            "numbers an adapter": f"{recipe.layout.num_params:,} in {run.store.manifest.dtype}",
            **dict(sorted(recipe.training.items())),
            "warm start": run.setting("fit", "warm_start", "path")
            or run.setting("test", "warm_start", "path")
            or recipe.warm_start,
            "digest of the base": recipe.base_digest,
            "digest of the prompt": recipe.prompt_version,
        }
    rows |= {".".join(keys): run.setting("test", *keys) for keys in _OF_EVALUATION}
    if run.generation:
        changed = ", ".join(f"{name} {value}" for name, value in run.generation.items())
        rows["changed by the base's generation_config.json"] = changed
    return {name: str(value) for name, value in rows.items() if value is not None}


def setting_differences(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """Return the settings that differ between runs, with each run's value."""
    settings = [_flat(run) for run in runs]
    names = dict.fromkeys(name for flat in settings for name in flat)
    values = {name: [str(flat.get(name, "")) for flat in settings] for name in names}
    return {
        name: row
        for name, row in values.items()
        if len(set(row)) > 1 and name.partition(" ")[2] not in _PLACES
    }


def _flat(run: RunFolder) -> dict[str, object]:
    """Return the settings of a run by dotted names that begin with the command."""
    flat: dict[str, object] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                separator = " " if " " not in prefix else "."
                walk(f"{prefix}{separator}{key}", inner)
        else:
            flat[prefix] = value

    for command, settings in run.settings.items():
        walk(command, settings)
    return flat
