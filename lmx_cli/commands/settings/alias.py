"""`lmx alias`: names for lists of models."""

import asyncio
from typing import Annotated

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output

NAME = Annotated[str, typer.Argument(metavar="NAME", help="Alias. With * it stands for all names that match it.")]
MODELS = Annotated[list[str], typer.Argument(metavar="MODEL", help="Models or aliases, tried in this order.")]


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="List, set or remove names for models.", no_args_is_help=True)
    app.add_typer(group, name="alias")

    @group.command(name="list")
    def show_all(json: bool = JSON) -> int:
        """List the aliases with their models, and the first model that is installed."""
        return asyncio.run(_list(output, json))

    @group.command(name="set")
    def set_alias(name: NAME, models: MODELS, json: bool = JSON) -> int:
        """Make a name stand for one or more models, as in: lmx alias set code org/big org/small."""
        return asyncio.run(_set(output, name, tuple(models), json))

    @group.command()
    def rm(name: NAME, json: bool = JSON) -> int:
        """Remove an alias. Its models stay."""
        return asyncio.run(_remove(output, name, json))


async def _list(output: Output, json: bool) -> int:
    async with await started() as client:
        rows = await client.aliases()
    if json:
        output.json(rows)
    elif rows:
        output.table(
            ("ALIAS", "MODELS", "MEANS NOW", "FROM"),
            [(row.name, ", ".join(row.models), row.model or "none is installed", row.source) for row in rows],
            spare=("FROM", "MEANS NOW"),
            elide=("MODELS", "ALIAS", "MEANS NOW"),
        )
    else:
        output.note("there are no aliases; `lmx alias set NAME MODEL...` makes one")
    return ExitCode.OK


async def _set(output: Output, name: str, models: tuple[str, ...], json: bool) -> int:
    async with await started() as client:
        row = await client.set_alias(name, models)
    if json:
        output.json(row)
        return ExitCode.OK
    output.paragraph(f"{row.name} means {', '.join(row.models)}")
    if row.model is None:
        output.note("none of its models is installed")
    return ExitCode.OK


async def _remove(output: Output, name: str, json: bool) -> int:
    async with await started() as client:
        row = await client.remove_alias(name)
    output.json(row) if json else output.text(f"removed the alias {row.name} of {', '.join(row.models)}")
    return ExitCode.OK
