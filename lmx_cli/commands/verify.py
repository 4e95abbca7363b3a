"""`lmx verify`, `trust`: whether a model is what it should be, and whether its code may run."""

import asyncio
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.models import JSON, YES, started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import size

if TYPE_CHECKING:
    from lmx_daemon.contract.library import VerifyUpdate


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def verify(
        model: str | None = typer.Argument(None, help="As `lmx ls` shows it."),
        every: bool = typer.Option(False, "--all", help="Every model."),
        repair: bool = typer.Option(False, "--repair", help="Fetch again what is wrong, and only that."),
        accept: bool = typer.Option(False, "--accept", help="Take the files as they are now: the change is yours."),
        json: bool = JSON,
    ) -> int:
        """Hash a model's files again, offline, and compare. Without --repair nothing is changed."""
        return asyncio.run(_verify(output, model, every, repair, accept, json))

    @app.command()
    def trust(
        model: str | None = typer.Argument(None, help="id@revision, whose code you have read; none lists them."),
        withdraw: bool = typer.Option(False, "--withdraw", help="Take it back."),
        yes: bool = YES,
        json: bool = JSON,
    ) -> int:
        """Let the code of one model run, at one revision. Without a model: list what is allowed."""
        return asyncio.run(_trust(output, model, withdraw, yes, json))


async def _verify(output: Output, name: str | None, every: bool, repair: bool, accept: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import RequestError
    from lmx_daemon.contract.library import VerifyRequest

    if (name is None) == (not every):
        raise RequestError("name a model, or give --all", hint="`lmx ls` lists the models that are here")
    if repair and accept:
        raise RequestError("--repair and --accept are opposites", hint="give one of them")
    ended: list[VerifyUpdate] = []
    async with await started() as client:
        names = [name] if name else [m.id for m in await client.models() if m.source != "built-in"]
        for one in names:
            last: VerifyUpdate | None = None
            async for last in client.verify(VerifyRequest(id=one, repair=repair, accept=accept)):
                share = f"{last.done / last.total:4.0%}" if last.total else ""
                output.progress(f"{last.id}: {last.state} {share} {size(last.done)} of {size(last.total)}")
            output.progress("")
            if last is not None:
                ended.append(last)
                if not json:
                    tell_verified(output, last)
    if json:
        output.json(ended)
    elif not names:
        output.note("there is no model to verify; lmx pull fetches one")
    return ExitCode.OK if all(last.state in ("sound", "recorded", "repaired") for last in ended) else ExitCode.ERROR


def tell_verified(output: Output, last: "VerifyUpdate") -> None:
    from lmx_daemon.contract.errors import LmxError, error_from

    told = f"{last.files} files, {size(last.total)}"
    match last.state:
        case "sound":
            output.text(f"{last.id}: sound; {told}, each is what {last.against} say")
        case "recorded":
            output.text(f"{last.id}: recorded; {told}; from now on a change is noticed")
        case "repaired":
            names = ", ".join(row.path for row in last.faults)
            output.text(f"{last.id}: repaired; fetched again: {names}")
        case "changed":
            for row in last.faults:
                output.text(f"{last.id}: {row.path} {row.note}")
            output.error(
                LmxError(
                    f"{last.id} is not what {last.against} say",
                    hint=f"fetch what is wrong again: lmx verify {last.id} --repair; "
                    f"if the change is yours: lmx verify {last.id} --accept",
                )
            )
        case _:
            output.error(error_from(last.error) if last.error else LmxError(f"{last.id}: {last.state}"))


async def _trust(output: Output, name: str | None, withdraw: bool, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.library import TrustRequest

    async with await started() as client:
        if name is None:
            rows = await client.trusted()
            if json:
                output.json(rows)
            elif rows:
                output.table(
                    ("MODEL", "REVISION"), [(row.id, row.revision) for row in rows], elide=("MODEL", "REVISION")
                )
            else:
                output.note("no model's code is allowed to run")
            return ExitCode.OK
        identity, _, revision = name.partition("@")
        if withdraw and not output.confirm(f"withdraw the trust in the code of {identity}?", yes=yes):
            return ExitCode.ERROR
        row = await client.trust(TrustRequest(id=identity, revision=revision or None, withdraw=withdraw))
    if json:
        output.json(row)
    elif withdraw:
        output.text(f"the code of {identity} runs no more" if row.revision != "-" else f"{identity} was not trusted")
    else:
        output.text(f"{row.id} may run its own code ({', '.join(row.code)}), at {row.revision} only")
    return ExitCode.OK
