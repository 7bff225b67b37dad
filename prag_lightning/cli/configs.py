"""The configs in the package: ``prag configs`` lists them, and ``--config`` takes their names."""

from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from prag_lightning.cli.exit_status import DONE
from prag_lightning.cli.suggestion import did_you_mean
from prag_lightning.cli.words_parser import WordsParser

_OPTIONS = ("--config", "-c")


def shipped_configs() -> dict[str, Path]:
    """Return the file of every shipped config by its name, such as ``published/models/...``."""
    root = Path(str(files("prag_lightning.configs")))
    found = sorted(root.rglob("*.yaml"))
    return {file.relative_to(root).with_suffix("").as_posix(): file for file in found}


def find_config(value: str) -> str:
    """Return the file that a value of ``--config`` stands for.

    A file of that name takes precedence over a shipped config; inline YAML and URLs are returned
    unchanged.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If the file holds no settings.
    """
    path = Path(value)
    if ":" in value or (path.exists() and not path.is_dir()):
        return checked_config(value)
    shipped = shipped_configs()
    if value in shipped:
        return str(shipped[value])
    # A path in a clone of the repository is accepted as the name, too.
    name = value.removeprefix("configs/").removesuffix(".yaml")
    hint = did_you_mean(name, shipped, "`prag configs` lists the shipped ones")
    raise FileNotFoundError(f"there is no file '{value}', and no config of that name; {hint}")


def checked_config(value: str) -> str:
    """Return a value of ``--config`` unchanged after checking that a file holds settings.

    Raises:
        ValueError: If it is a file without settings.
    """
    from prag_lightning.documents.yaml_text import read_yaml

    if ":" in value or not Path(value).is_file():
        return value
    settings = read_yaml(Path(value))
    if not isinstance(settings, dict):
        what = "nothing" if settings is None else f"a {type(settings).__name__}"
        raise ValueError(f"{value}: holds {what}; settings are expected, a `name: value` each")
    return value


def with_config_files(args: Sequence[str], find: Callable[[str], str] = find_config) -> list[str]:
    """Return a command line with names of shipped configs replaced by their files.

    Args:
        args: The command line.
        find: Maps a value of ``--config`` to its file.
    """
    return list(_with_config_files(args, find))


def _with_config_files(args: Sequence[str], find: Callable[[str], str]) -> Iterator[str]:
    follows = False
    for word in args:
        option, equals, value = word.partition("=")
        if follows:
            yield find(word)
        elif option in _OPTIONS and equals:
            yield f"{option}={find(value)}"
        else:
            yield word
        follows = not follows and word in _OPTIONS


def run_configs(args: Sequence[str]) -> int:
    """Run ``prag configs``: list the shipped configs, or print one."""
    parser = WordsParser("prag configs", description="List the shipped configs.")
    parser.add_argument("name", nargs="?", help="print this one")
    name: str | None = parser.parse_args(args).name
    if name is not None:
        print(_read(name), end="")
        return DONE
    shipped = shipped_configs()
    width = max(map(len, shipped))
    for config, file in shipped.items():
        first_line = file.read_text(encoding="utf-8").partition("\n")[0]
        print(f"{config:<{width}}  {first_line.removeprefix('# ')}")
    print("\n`prag configs NAME` prints one; `prag fit --config NAME` runs it.")
    return DONE


def _read(name: str) -> str:
    shipped = shipped_configs()
    if name not in shipped:
        hint = did_you_mean(name, shipped, "`prag configs` lists them")
        raise ValueError(f"there is no shipped config '{name}'; {hint}")
    return shipped[name].read_text(encoding="utf-8")
