"""The command ``prag base``: base models that were converted from GGUF files and kept."""


def base_list() -> None:
    """List what GGUF files were converted into, with the room that it takes."""
    from prag_lightning.language_model.gguf_file import converted_bases

    bases = converted_bases()
    for base in bases:
        print(f"{base.num_bytes / 1e6:>9,.0f} MB  {base.file}\n{'':14}in {base.folder}")
    if not bases:
        print("no GGUF file was converted yet")


def base_remove(file: str) -> None:
    """Delete what a GGUF file was converted into; the file itself stays.

    Args:
        file: The GGUF file, as `prag base list` names it, or its name alone; `all` for all.
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


BASE_COMMANDS = {"list": base_list, "remove": base_remove}
