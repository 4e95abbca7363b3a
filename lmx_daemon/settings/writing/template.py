"""The text of a config.toml in which every key stands as a comment with its help and its default."""

from lmx_daemon.settings.keys import NAME, Key, sections
from lmx_daemon.settings.writing.edits import commented, toml

HEAD = """# Settings of lmx. Each key is shown with its default; remove the "# " in front of a line to change it.
# A running daemon reads this file again when it changes.
"""


def template() -> str:
    """Return the text. Every line but the table headers is a comment."""
    parts = [HEAD]
    for section, found in sections().items():
        named = next(iter(found.values())).named
        header = f'# [{section}."ORG/{NAME}"]\n' if named else f"[{section}]\n"
        parts.append(f"\n{header}" + "".join(_commented(key) for key in found.values()))
    return "".join(parts)


def _commented(key: Key) -> str:
    """Return one key with its help, as comments."""
    value = "..." if key.default is None else toml(key.default)
    return f"{commented(key.help)}# {key.name} = {value}\n\n"
