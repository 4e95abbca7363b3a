"""`lmx cache`: stored prompts (the disk tier of the prefix cache). Its commands need no daemon."""

import time

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import ago, size

MODEL = typer.Argument(None, help="Model, as `lmx cache ls` lists it. Default: all models.")


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="List or delete the prompts stored on disk.", no_args_is_help=True)
    app.add_typer(group, name="cache")

    @group.command()
    def ls(json: bool = JSON) -> int:
        """List the stored prompts of each model. They are not encrypted."""
        return _ls(output, json)

    @group.command()
    def clear(model: str | None = MODEL, yes: bool = YES, json: bool = JSON) -> int:
        """Delete stored prompts. Loaded models are not affected."""
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
            [
                (stored.model, str(stored.blocks), size(stored.size), ago(stored.oldest, now), ago(stored.newest, now))
                for stored in found
            ],
            right=("BLOCKS", "SIZE"),
            spare=("OLDEST", "BLOCKS"),
        )
    output.note(
        f"{size(sum(stored.size for stored in found))} in {root}; `[engine] prefix_disk_bytes = 0` turns storing off"
    )
    return ExitCode.OK


def _clear(output: Output, model: str | None, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import LmxError, NotFoundError
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.prefixes import clear_prefixes, stored_prefixes

    root = Home.from_environment().prefixes
    found = [stored for stored in stored_prefixes(root) if model in (None, stored.model)]
    if model is not None and not found:
        raise NotFoundError(f"no prompt of {model} is stored on disk", hint="`lmx cache ls` lists the models")
    total = size(sum(stored.size for stored in found))
    if found and not output.confirm(f"delete {total} of stored prompts?", yes=yes):
        return ExitCode.ERROR
    try:
        deleted = clear_prefixes(root, model)
    except OSError as error:
        raise LmxError(
            f"cannot delete in {root}: {error.strerror or error}", hint="check the permissions of this folder"
        ) from error
    if json:
        output.json(deleted)
    else:
        output.text(
            f"deleted {sum(stored.blocks for stored in deleted)} blocks, {size(sum(stored.size for stored in deleted))}"
        )
    return ExitCode.OK
