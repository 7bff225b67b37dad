"""The command ``prag base``: base models converted from GGUF files, or merged with an adapter."""

from pathlib import Path


def base_list() -> None:
    """List the models converted from GGUF files, with their sizes."""
    from prag_lightning.language_model.gguf_file import converted_bases

    bases = converted_bases()
    for base in bases:
        print(f"{base.num_bytes / 1e6:>9,.0f} MB  {base.file}\n{'':14}in {base.folder}")
    if not bases:
        print("no GGUF file was converted yet")


def base_remove(file: str) -> None:
    """Delete the model converted from a GGUF file, but not the file itself.

    Args:
        file: The GGUF file as listed by `prag base list`, or only its name; `all` for all.
    """
    from prag_lightning.language_model.gguf_file import converted_bases, remove_converted

    bases = converted_bases()
    chosen = [base for base in bases if file in ("all", str(base.file), base.file.name)]
    if not chosen:
        known = ", ".join(str(base.file) for base in bases) or "none"
        raise ValueError(f"'{file}' was not converted; `prag base list` names: {known}")
    for base in chosen:
        size = base.num_bytes
        remove_converted(base)
        print(f"{size / 1e6:,.0f} MB of {base.file.name} are free again")


def base_merge(base: str, adapter: Path, output: Path) -> None:
    """Write a base model with an adapter, such as a warm start, merged into its weights.

    Args:
        base: Hub name or folder of the base, or a GGUF file.
        adapter: Folder of the adapter in PEFT's format.
        output: Folder to write, for `--model.base`.
    """
    from prag_lightning.cli.quiet import quiet
    from prag_lightning.language_model.merged_base import merge_into_base

    quiet()
    print(f"merging {adapter} into {base}")
    merge_into_base(base, adapter, output)
    print(f"the merged base is in {output}; use it as --model.base {output}")


BASE_COMMANDS = {"list": base_list, "remove": base_remove, "merge": base_merge}
