"""`lmx cache`: the prompts that are kept on disk, to be continued after a restart. It needs no daemon."""

import time

import typer

from lmx_cli.commands.models import JSON, YES
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import ago, size

MODEL = typer.Argument(None, help="As `lmx cache ls` shows it; all models if none is named.")


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show or delete the prompts that are kept on disk. ls, clear.", no_args_is_help=True)
    app.add_typer(group, name="cache")

    @group.command()
    def ls(json: bool = JSON) -> int:
        """List what is kept of each model's prompts. It holds their tokens in plain."""
        return _ls(output, json)

    @group.command()
    def clear(model: str | None = MODEL, yes: bool = YES, json: bool = JSON) -> int:
        """Delete what is kept of prompts on disk. Models that are loaded go on."""
        return _clear(output, model, yes, json)


def _ls(output: Output, json: bool) -> int:
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.prefixes import stored_prefixes

    root, now = Home.from_environment().prefixes, time.time()
    found = stored_prefixes(root)
    if json:
        output.json(found)
        return ExitCode.OK
    if found:
        output.table(
            ("MODEL", "BLOCKS", "SIZE", "OLDEST", "NEWEST"),
            [(one.model, str(one.blocks), size(one.size), ago(one.oldest, now), ago(one.newest, now)) for one in found],
            right=("BLOCKS", "SIZE"),
            spare=("OLDEST", "BLOCKS"),
        )
    output.note(f"{size(sum(one.size for one in found))} in {root}; `[engine] prefix_disk_bytes = 0` keeps nothing")
    return ExitCode.OK


def _clear(output: Output, model: str | None, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import LmxError, NotFoundError
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.prefixes import clear_prefixes, stored_prefixes

    root = Home.from_environment().prefixes
    found = [one for one in stored_prefixes(root) if model in (None, one.model)]
    if model is not None and not found:
        raise NotFoundError(f"no prompt of {model} is kept on disk", hint="`lmx cache ls` lists the models")
    kept = size(sum(one.size for one in found))
    if found and not output.confirm(f"delete {kept} of kept prompts?", yes=yes):
        return ExitCode.ERROR
    try:
        gone = clear_prefixes(root, model)
    except OSError as error:
        raise LmxError(f"cannot delete in {root}: {error.strerror or error}", hint="check its permissions") from error
    if json:
        output.json(gone)
    else:
        output.text(f"deleted {sum(one.blocks for one in gone)} blocks, {size(sum(one.size for one in gone))}")
    return ExitCode.OK
