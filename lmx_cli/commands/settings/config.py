"""`lmx config`: the settings in config.toml. Its commands need no daemon; a running one applies changes at once."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import typer

from lmx_cli.commands.options import JSON, usage_faults
from lmx_cli.output import ExitCode, Output
from lmx_cli.remote import is_remote, refuse_remote

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.config import ConfigReload, ConfigRow, ConfigView
    from lmx_daemon.settings.choice import ChosenKey

KEY = typer.Argument(metavar="KEY", help="Setting, such as server.port or models.ORG/NAME.ttl.")
WORD = typer.Argument(None, metavar="WORD", help="Only settings whose name contains this text.")
NEXT_START = "takes effect at the next start of lmx"


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show and change the settings in config.toml.", no_args_is_help=True)
    app.add_typer(group, name="config")
    _add_values(group, output)
    _add_file(group, output)


def _add_values(group: typer.Typer, output: Output) -> None:
    """Add the commands for the values of settings."""

    @group.command("list")
    def list_all(
        word: str | None = WORD,
        changed: bool = typer.Option(False, "--changed", help="Only settings that are not at their default."),
        json: bool = JSON,
    ) -> int:
        """List all settings with their values and where each comes from: default, file, environment or flag."""
        return _list(output, word, changed, json)

    @group.command()
    def get(key: str = KEY, json: bool = JSON) -> int:
        """Print the value of a setting. With --json, its type, help and origin as well."""
        return _get(output, key, json)

    @group.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
    def set_key(
        key: str = KEY,
        value: str = typer.Argument(metavar="VALUE", help="New value; - reads it from stdin."),
        json: bool = JSON,
    ) -> int:
        """Set a value in config.toml. Comments and order of the file stay as they are.

        Texts need no quotes. Lists are written with commas: lmx config set server.allowed_hosts a.example,b.example
        """
        return _change(output, key, sys.stdin.readline().strip() if value == "-" else value, json)

    @group.command()
    def unset(key: str = KEY, json: bool = JSON) -> int:
        """Remove a setting from config.toml, so that its default is in force."""
        return _change(output, key, None, json)


def _add_file(group: typer.Typer, output: Output) -> None:
    """Add the commands for config.toml as a whole."""

    @group.command()
    def path(json: bool = JSON) -> int:
        """Print the path of config.toml."""
        file = view().file
        output.json({"file": file}) if json else output.text(file)
        return ExitCode.OK

    @group.command()
    def edit() -> int:
        """Open config.toml in $VISUAL or $EDITOR. The new text is checked before it replaces the file."""
        from lmx_cli.config_editor import edit_config

        refuse_remote("lmx config edit")
        if edit_config(output) and (found := _reloaded()) is not None:
            report(output, found)
        return ExitCode.OK

    @group.command()
    def reload(json: bool = JSON) -> int:
        """Make the running daemon read config.toml again."""
        found = asyncio.run(_reload())
        output.json({"changed": found.changed, "waiting": found.waiting}) if json else report(output, found)
        return ExitCode.OK


def report(output: Output, found: "ConfigReload") -> None:
    """Print what a running daemon did with a changed file."""
    for key in found.changed:
        output.text(f"{key} is in force")
    for key in found.waiting:
        output.text(f"{key} {NEXT_START}")
    if not found.changed and not found.waiting:
        output.note("nothing has changed")


def view() -> "ConfigView":
    """Return the settings of the running daemon; without one, those of this process. Raises ConfigError."""
    from lmx_daemon.contract.admin.config import ConfigView
    from lmx_daemon.settings.layers import read_layers
    from lmx_daemon.settings.listing import named_rows, rows
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    if (running := asyncio.run(_running())) is not None:
        return running
    layers = read_layers(home.config, os.environ)
    found = rows(layers, layers.settings)
    return ConfigView(file=str(home.config), rows=found, named=named_rows(), notes=layers.notes)


async def _running() -> "ConfigView | None":
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    if not is_remote() and not home.socket.exists():
        return None
    try:
        async with Client.of(home) as client:
            return await client.config()
    except DaemonSilentError:
        raise
    except DaemonUnreachableError:
        return None


def _list(output: Output, word: str | None, changed: bool, json: bool) -> int:
    found = view()
    chosen = [
        row for row in found.rows if (word is None or word in row.key) and (not changed or row.is_set or row.waiting)
    ]
    if json:
        output.json({"file": found.file, "fault": found.fault, "settings": chosen})
        return ExitCode.OK
    if chosen:
        output.table(
            ("SETTING", "VALUE", "FROM", "CHANGE"),
            [(row.key, shown(row), f"{row.source} {row.place}".strip(), _change_of(row)) for row in chosen],
            elide=("VALUE", "FROM"),
            spare=("CHANGE",),
        )
    else:
        output.note("no setting matches" if word else "all settings are at their defaults")
    for note in found.notes:
        output.note(note)
    if found.fault:
        output.note(f"the daemon keeps these values, since its file has a fault: {found.fault}")
    return ExitCode.OK


def shown(row: "ConfigRow") -> str:
    """Return the value of a setting for a table."""
    from lmx_daemon.settings.checks.faults import shown as toml

    if row.secret:
        return "(set)" if row.is_set else "-"
    if row.waiting:
        return f"{toml(row.value)}, {toml(row.next)} after a restart"
    return "-" if row.value is None else toml(row.value)


def _change_of(row: "ConfigRow") -> str:
    if row.waiting:
        return "restart needed"
    return {"hot": "at once", "restart": "at a restart", "tui": "when the TUI starts"}[row.reload]


def _get(output: Output, name: str, json: bool) -> int:
    from lmx_daemon.settings.choice import choose

    with usage_faults():
        choice = choose(name)
    found = view()
    row = next((row for row in found.rows if row.key == choice.dotted), None)
    if json:
        _show_json(output, found, choice)
        return ExitCode.OK
    value = _secret(choice) if choice.key.secret else row and row.value
    if value is None:
        output.note(f"{choice.dotted} is not set")
    else:
        output.text(*(value if isinstance(value, list) else [value if isinstance(value, str) else _json(value)]))
    return ExitCode.OK


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _secret(choice: "ChosenKey") -> Any:
    """Return a secret value from this process's own sources: a daemon does not send secrets."""
    refuse_remote("to print a secret setting")
    from lmx_daemon.settings.layers import read_settings
    from lmx_daemon.settings.paths import Home

    return choice.key.value_in(read_settings(Home.from_environment()))


def _show_json(output: Output, found: "ConfigView", choice: "ChosenKey") -> None:
    """Print the row of a key; for a named key that is not set, the row that describes it."""
    row = next((row for row in found.rows if row.key == choice.dotted), None)
    output.json(row or next(each for each in found.named if each.name == choice.key.name))


def _change(output: Output, name: str, text: str | None, json: bool) -> int:
    from functools import partial

    from lmx_daemon.settings.checks.faults import shown as toml
    from lmx_daemon.settings.choice import choose
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.settings.writing.changes import edited, typed
    from lmx_daemon.settings.writing.config_writer import change_config

    with usage_faults():
        choice = choose(name)
        value = None if text is None else typed(choice, text)
    if is_remote():
        applied = asyncio.run(_set_remote(choice.dotted, value))
        _show_json(output, view(), choice) if json else report(output, applied)
        return ExitCode.OK
    change_config(Home.from_environment(), partial(edited, choice, value))
    if json:
        _reloaded()
        _show_json(output, view(), choice)
        return ExitCode.OK
    if value is None:
        output.text(f"{choice.dotted} is not set in the file any more")
    else:
        output.text(f"{choice.dotted} = {'...' if choice.key.secret else toml(value)}")
    return _applied(output, choice)


async def _set_remote(key: str, value: Any) -> "ConfigReload":
    """Set a key in the file of the daemon of another machine."""
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    async with Client.of(Home.from_environment()) as client:
        return await client.set_config(key, value)


def _applied(output: Output, choice: "ChosenKey") -> int:
    """Make a running daemon apply a change, and print when it takes effect."""
    found = _reloaded()
    if found is not None and choice.dotted in found.waiting:
        output.note(NEXT_START)
    elif choice.key.reload == "tui":
        output.note("takes effect when the TUI starts")
    row = next((row for row in view().rows if row.key == choice.dotted), None)
    if row is not None and row.source in ("environment", "flag"):
        output.note(f"{row.place} takes precedence, so that the value is not in force")
    return ExitCode.OK


def _reloaded() -> "ConfigReload | None":
    """Make a running daemon read the file again; return None if none runs."""
    from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError
    from lmx_daemon.settings.paths import Home

    if not is_remote() and not Home.from_environment().socket.exists():
        return None
    try:
        return asyncio.run(_reload())
    except DaemonSilentError:
        raise
    except DaemonUnreachableError:
        return None


async def _reload() -> "ConfigReload":
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    async with Client.of(Home.from_environment()) as client:
        return await client.reload_config()
