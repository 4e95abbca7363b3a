"""`lmx move`: the pulled models in another folder or on another disk."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import duration, size, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lmx_daemon.contract.admin.library.move import MovePlan, MoveUpdate


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def move(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder of the models. Its parent must exist.")],
        dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would be moved."),
        yes: bool = YES,
        json: bool = JSON,
    ) -> int:
        """Move the pulled models to another folder or disk, and use it from now on. The daemon is restarted.

        Each copy is read again and hashed before its source is deleted. After an interruption, the same command
        continues.
        """
        return asyncio.run(_move(output, folder, dry_run, yes, json))


async def _move(output: Output, folder: Path, dry_run: bool, yes: bool, json: bool) -> int:
    from lmx_cli.commands.daemon.restart import restart_daemon
    from lmx_daemon.contract.admin.library.move import MoveRequest
    from lmx_daemon.settings.paths import Home

    request = MoveRequest(path=os.path.abspath(os.path.expanduser(folder)))
    async with await started() as client:
        plan = await client.plan_move(request)
        if dry_run:
            output.json(plan) if json else output.text(_summary(plan))
            return ExitCode.OK
        if not plan.pointed:
            question = _question(plan)
            if question and not output.confirm(question, yes=yes):
                return ExitCode.ERROR
            copied = await _follow(output, client.copy_cache(request))
            if copied.state != "copied":
                return _failed(output, copied, json)
            await client.set_config("library.cache", request.path)
    if not plan.pointed:
        _, words = await restart_daemon(output, Home.from_environment())
        output.note(words)
    async with await started() as client:
        moved = await _follow(output, client.finish_move(request))
    if moved.state != "moved":
        return _failed(output, moved, json)
    if json:
        output.json(moved)
        return ExitCode.OK
    output.text(f"{_models(plan.models)}, {size(plan.size)}, moved to {plan.target}")
    _remarks(output, plan, moved)
    return ExitCode.OK


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _summary(plan: "MovePlan") -> str:
    """Return what a move will do, in a line."""
    where = "on the same disk" if plan.same_disk else f"{size(plan.free)} are free there"
    rest = f"; {plan.others} other folders stay" if plan.others else ""
    return f"{_models(plan.models)}, {size(plan.size)}, from {plan.source} to {plan.target} ({where}){rest}"


def _question(plan: "MovePlan") -> str:
    """Return the question before a move; empty if it disturbs neither other programs nor loaded models."""
    effects = []
    if plan.shared:
        effects.append("other programs that use this cache will not find the models there")
    if plan.loaded:
        effects.append(f"{', '.join(plan.loaded)} will be unloaded")
    return f"move {_summary(plan)}? Note: {'; '.join(effects)}" if effects else ""


async def _follow(output: Output, updates: "AsyncIterator[MoveUpdate]") -> "MoveUpdate":
    """Show the progress of a run, and return its last update."""
    from lmx_daemon.contract.errors import LmxError

    last = None
    async for last in updates:
        if last.state in ("copying", "deleting"):
            output.progress(_progress(last))
    output.progress("")
    if last is None:
        raise LmxError("the daemon has ended the move without a result", hint="run the command again: it continues")
    return last


def _progress(update: "MoveUpdate") -> str:
    """Return one line: "copying  43% · 1.1/2.5 GB · ETA 17s · maker/one"."""
    share = f"{update.done / update.total:4.0%}" if update.total else ""
    parts = [f"{update.state} {share}".rstrip(), size_of(update.done, update.total)]
    return " · ".join([*parts, f"ETA {duration(update.eta)}", update.model])


def _failed(output: Output, update: "MoveUpdate", json: bool) -> int:
    from lmx_daemon.contract.errors import error_from

    assert update.error is not None
    if json:
        output.json_line({"error": update.error})
    else:
        output.error(error_from(update.error))
        output.note("nothing is lost; the same command continues where this one stopped")
    return ExitCode.ERROR


def _remarks(output: Output, plan: "MovePlan", moved: "MoveUpdate") -> None:
    for line in moved.left:
        output.note(f"stays: {line}")
    for key in moved.damaged:
        output.note(f"damaged before the move, see `lmx verify`: {key}")
    if plan.shared:
        output.note(f"for other programs: export HF_HUB_CACHE={plan.target}")
