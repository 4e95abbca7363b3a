"""Writes docs/config.md from the schema of config.toml. With --check, ends with 1 if the page is not current."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from lmx_daemon.settings.keys import Key, sections
from lmx_daemon.settings.writing.edits import toml

PAGE = ROOT / "docs" / "config.md"
HEAD = """# Settings

This page is generated from the schema by `scripts/config_page.py`.

`lmx config path` prints the path of the file: `~/.lmx/config.toml` unless `LMX_HOME` is set. Everything in it is
optional.

```
lmx config list                      # all settings, their values, and where each comes from; --json, --changed
lmx config get server.port
lmx config set engine.memory 75%     # comments and order of the file stay as they are
lmx config unset engine.memory       # back to the default
lmx config edit                      # in $VISUAL or $EDITOR; checked before it is saved
lmx config reload                    # a running daemon also reads a changed file by itself, and on SIGHUP
```

A flag wins over an environment variable, a variable over the file, and the file over the default. The variable of a
key is `LMX_<SECTION>_<KEY>`, such as `LMX_SERVER_PORT`; another name stands in the table. Lists in variables and in
`lmx config set` are written with commas, tables as TOML.

A fault in the file is reported with its line. A daemon does not start with such a file. A daemon that runs keeps the
settings that it has, and `lmx status` shows the fault. The last content of the file is kept as `config.toml.bak` when a
command changes it.

The last column states when a change takes effect: at once, at the next start of the daemon (*restart*), or when the TUI
starts (*TUI*).
"""
WHEN = {"hot": "at once", "restart": "restart", "tui": "TUI"}


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(section(name, list(keys.values())) for name, keys in sections().items())


def section(name: str, keys: list[Key]) -> str:
    """Return the table of one section."""
    header = f'[{name}."ORG/NAME"]' if keys[0].named else f"[{name}]"
    rows = "".join(row(key) for key in keys)
    return f"\n## {header}\n\n| key | type | default | meaning | change |\n|---|---|---|---|---|\n{rows}"


def row(key: Key) -> str:
    """Return the line of one key."""
    default = "" if key.default is None else f"`{toml(key.default)}`"
    variable = f" Variable: `{key.variable}`." if key.variable and key.variable != standard(key) else ""
    cells = (f"`{key.name}`", key.type, default, key.help + variable, WHEN[key.reload])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def standard(key: Key) -> str:
    """Return the variable that a key has unless its schema names another."""
    return f"LMX_{key.section}_{key.name}".upper()


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE.relative_to(ROOT)} is not current; run: {Path(sys.executable).name} scripts/config_page.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
