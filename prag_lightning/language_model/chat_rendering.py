"""Rendering untrusted chat templates in a separate process with tight limits.

This file is also the script of that process, so it imports only the standard library and Jinja.
"""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

# Time limit in seconds, memory limit in bytes, and maximum number of rendered characters.
PATIENCE = 10
_MEMORY = 2**28
_LONGEST = 1_000_000
# Fixed date for templates that print today's date, so that prompts do not depend on the day. It
# is the default of Llama 3's own template.
_DATE = "26 Jul 2024"
_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


@lru_cache
def render_chat(template: str, variables: str) -> str:
    """Render a chat template.

    Args:
        template: A Jinja template, as used by transformers.
        variables: The template's variables as a JSON object.

    Raises:
        ValueError: If it fails, or exceeds the time or memory limit.
    """
    import jinja2

    command = [sys.executable, "-I", __file__, str(Path(jinja2.__file__).parents[1])]
    # Pass only the variables that Python needs, since others may contain secrets.
    needed = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    request = json.dumps([template, variables])
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=PATIENCE, env=needed
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"is not done after {PATIENCE:g} seconds") from error
    try:
        text, problem = json.loads(done.stdout)
    except ValueError as error:
        raise ValueError("needs too much memory or time") from error
    if problem:
        raise ValueError(f"fails ({problem})")
    return str(text)


def _limit() -> None:
    """Limit the process's time, memory and file access."""
    try:
        import resource
    except ImportError:  # On Windows only the time is limited.
        return
    for kind, limit in (
        (resource.RLIMIT_CPU, PATIENCE),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _environment() -> Any:
    """Return the sandboxed environment in which transformers renders chat templates."""
    from jinja2 import TemplateError, ext, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(ext.Extension):
        """Renders the contents of ``{% generation %}``, which marks the assistant's message."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class PublicNamespace(Namespace):
        """Refuses names that begin with an underscore, which allow escapes from the sandbox."""

        def __init__(self, **attributes: Any) -> None:
            super().__init__()
            for name, value in attributes.items():
                self[name] = value

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a namespace has no place for '{name}'")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["namespace"] = PublicNamespace
    environment.globals["dict"] = lambda *args, **values: dict(*args, **values)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: _DATE
    return environment


def _main() -> None:
    template, variables = json.load(sys.stdin)
    sys.path.append(sys.argv[1])
    environment = _environment()
    _limit()
    text, problem = "", ""
    try:
        text = environment.from_string(template).render(**json.loads(variables))
        if len(text) > _LONGEST:
            text, problem = "", f"it writes {len(text):,} characters"
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
    print(json.dumps([text, problem]))


if __name__ == "__main__":
    _main()
