"""`lmx verify`, `trust`: verification of a model's files, and permission for its code to run."""

import asyncio
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import size

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.library.files import VerifyUpdate


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def verify(
        model: str | None = typer.Argument(None, help="Model, as `lmx ls` lists it."),
        every: bool = typer.Option(False, "--all", help="Verify all models."),
        repair: bool = typer.Option(False, "--repair", help="Download wrong files again."),
        accept: bool = typer.Option(
            False, "--accept", help="Record the current files as correct, after a change of your own."
        ),
        json: bool = JSON,
    ) -> int:
        """Hash a model's files and compare them with its manifest, offline. Only --repair changes files."""
        return asyncio.run(_verify(output, model, every, repair, accept, json))

    @app.command()
    def trust(
        model: str | None = typer.Argument(
            None, help="id@revision whose code you have read. Default: list trusted models."
        ),
        withdraw: bool = typer.Option(False, "--withdraw", help="Withdraw the trust."),
        yes: bool = YES,
        json: bool = JSON,
    ) -> int:
        """Allow the code of one model to run, at one revision. Without a model: list trusted models."""
        return asyncio.run(_trust(output, model, withdraw, yes, json))


async def _verify(output: Output, name: str | None, every: bool, repair: bool, accept: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.files import VerifyRequest
    from lmx_daemon.contract.errors import UsageError

    if (name is None) == (not every):
        raise UsageError("name a model, or give --all", hint="`lmx ls` lists the models that are here")
    if repair and accept:
        raise UsageError("--repair and --accept are opposites", hint="give one of them")
    ended: list[VerifyUpdate] = []
    async with await started() as client:
        names = [name] if name else [m.id for m in await client.models() if m.source != "built-in"]
        for one in names:
            last: VerifyUpdate | None = None
            async for last in client.verify(VerifyRequest(id=one, repair=repair, accept=accept)):
                share = last.done / last.total if last.total else None
                output.progress(last.id, share, [last.state, f"{size(last.done)} of {size(last.total)}"])
            output.progress("")
            if last is not None:
                ended.append(last)
                if not json:
                    show_verification(output, last)
    if json:
        output.json(ended)
    elif not names:
        output.note("there is no model to verify; lmx pull downloads one")
    return ExitCode.OK if all(last.state in ("sound", "recorded", "repaired") for last in ended) else ExitCode.ERROR


def show_verification(output: Output, last: "VerifyUpdate") -> None:
    """Print the result of a verification, which its last update contains."""
    from lmx_daemon.contract.errors import LmxError, error_from

    counts = f"{last.files} files, {size(last.total)}"
    match last.state:
        case "sound":
            output.paragraph(f"{last.id}: sound; {counts}, each matches {last.against}")
        case "recorded":
            output.paragraph(f"{last.id}: recorded; {counts}; later changes are detected")
        case "repaired":
            names = ", ".join(row.path for row in last.faults)
            output.paragraph(f"{last.id}: repaired; downloaded again: {names}")
        case "changed":
            for row in last.faults:
                output.paragraph(f"{last.id}: {row.path} {row.note}")
            output.error(
                LmxError(
                    f"{last.id} does not match {last.against}",
                    hint=f"download wrong files again: lmx verify {last.id} --repair; "
                    f"if the change is yours: lmx verify {last.id} --accept",
                )
            )
        case _:
            output.error(error_from(last.error) if last.error else LmxError(f"{last.id}: {last.state}"))


async def _trust(output: Output, name: str | None, withdraw: bool, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.files import TrustRequest

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
        output.paragraph(
            f"the code of {identity} no longer runs" if row.revision != "-" else f"{identity} was not trusted"
        )
    else:
        output.paragraph(f"{row.id} may run its own code ({', '.join(row.code)}), at {row.revision} only")
    return ExitCode.OK
