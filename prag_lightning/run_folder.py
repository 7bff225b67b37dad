"""Where runs lie, and which there are."""

from pathlib import Path

_RUNS = Path("runs")
# Those of `test` say also how it merged.
_SETTINGS = ("test.yaml", "fit.yaml")


def default_run_dir(data_folder: str) -> Path:
    """Return where the run on a folder of documents lies if nobody says where: ``runs/NAME``."""
    return _RUNS / Path(data_folder).resolve().name


def settings_file(run_dir: Path) -> Path:
    """Return the file with the settings of a run.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in _SETTINGS:
        if (run_dir / name).is_file():
            return run_dir / name
    raise FileNotFoundError(
        f"{run_dir / 'fit.yaml'}: no such file; `prag fit --trainer.default_root_dir {run_dir}` "
        "encodes documents and writes it"
    )


def latest_run() -> Path:
    """Return the run under ``runs`` that encoded documents last.

    Raises:
        FileNotFoundError: If there is none.
    """
    started = sorted(_RUNS.glob("*/fit.yaml"), key=lambda file: file.stat().st_mtime)
    # A run that trained a warm start has no documents to ask about.
    runs = [file.parent for file in started if not (file.parent / "warm_start").exists()]
    if not runs:
        raise FileNotFoundError(
            f"there is no run in '{_RUNS}' yet; `prag fit` encodes documents and leaves one, or "
            "name the folder of one that lies elsewhere with --run"
        )
    return runs[-1]
