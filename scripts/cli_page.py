"""Writes docs/cli.md from the commands of lmx. With --check, ends with 1 if the page is not current."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from lmx_cli.commands import build
from lmx_cli.connect import RUNNING_ONLY, WITHOUT_DAEMON
from lmx_cli.examples import examples_of
from lmx_cli.help import GROUPS, OTHER, choices_of, placeholder
from lmx_cli.output import ExitCode, Output

PAGE = ROOT / "docs" / "cli.md"
HEAD = """# The command line

This page is generated from the commands by `scripts/cli_page.py`. `lmx help COMMAND` shows the same on a terminal.
[operations.md](operations.md#the-command-line) lists the commands of ollama and lms that lmx accepts.

- A command that needs the daemon starts it in the background.
- These commands do not start a daemon, and end with exit code 3 if none runs: {running}.
- These commands need no daemon: {without}.
- A model is named by its id, by an alias, or by a part of its id that only one model has.
- A command that cannot be undone asks for confirmation. If stdin is not a terminal, it requires `--yes`.
- Results are written to stdout; progress, notes and errors to stderr. A table is fitted to the width of a terminal. A
  pipe gets all columns.
- `--json` prints one JSON document. That of an error is an object `error` with `code`, `message` and `hint`. `pull` and
  `logs` print one document on each line. New versions add fields, and neither rename nor remove any.

| exit code | meaning |
|---|---|
"""
CODES = {
    ExitCode.OK: "done",
    ExitCode.ERROR: "an error of the daemon or of the command",
    ExitCode.USAGE: "the command line is wrong, or a confirmation is missing",
    ExitCode.NOT_RUNNING: "no daemon runs, and the command does not start one",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C (128 + the signal's number for other signals)",
}


def page() -> str:
    """Return the text of the page."""
    tree = build(Output())
    known = {name for names in GROUPS.values() for name in names}
    others = [name for name, each in tree.commands.items() if name not in known and not each.hidden]
    groups = {**GROUPS, OTHER: others}
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in CODES.items())
    body = "".join(group(title, [(n, tree.commands[n]) for n in names]) for title, names in groups.items() if names)
    rules = {"running": listed(RUNNING_ONLY), "without": listed(WITHOUT_DAEMON)}
    return HEAD.format(**rules) + codes + "\n## Options of lmx\n\n" + table(tree) + body


def listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def group(title: str, commands: list[tuple[str, Any]]) -> str:
    """Return the section of one group of commands."""
    return f"\n## {title}\n" + "".join(text for name, each in commands for text in command(name, each))


def command(name: str, found: Any) -> Iterator[str]:
    """Yield the texts of a command and of its subcommands."""
    arguments = [each for each in found.params if each.param_type_name == "argument" and not each.hidden]
    usage = " ".join([f"lmx {name}", *map(placeholder, arguments)])
    inner = {n: each for n, each in getattr(found, "commands", {}).items() if not each.hidden}
    yield f"\n### lmx {name}\n\n`{usage}`\n\n{plain(found.help)}.\n"
    if rows := table(found):
        yield f"\n{rows}"
    if lines := examples_of(name):
        yield "\n```\n" + "\n".join(lines) + "\n```\n"
    for subname, each in inner.items():
        yield from command(f"{name} {subname}", each)


def table(found: Any) -> str:
    """Return the table of a command's arguments and options; empty if it has none."""
    rows = [row(each) for each in found.params if not each.hidden]
    return "| option | meaning |\n|---|---|\n" + "".join(rows) if rows else ""


def row(parameter: Any) -> str:
    """Return the line of one argument or option."""
    if parameter.param_type_name == "argument":
        name = placeholder(parameter).strip("[]")
    else:
        value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or 'VALUE'}"
        name = ", ".join([*parameter.opts, *parameter.secondary_opts]) + value
    choices = choices_of(parameter)
    text = plain(parameter.help or "") + (f": {', '.join(choices)}" if choices else "")
    return f"| `{escaped(name)}` | {escaped(text)} |\n"


def plain(text: str | None) -> str:
    return " ".join((text or "").replace("\b", "").split())


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE.relative_to(ROOT)} is not current; run: {Path(sys.executable).name} scripts/cli_page.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
