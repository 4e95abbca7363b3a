"""`lmx rm`, `du`, `prune`, `import`: the disk space of models, and how to change it."""

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.disk.verify import show_verification
from lmx_cli.commands.options import JSON, YES
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import UsageError
from lmx_daemon.contract.units import ago, duration, size

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.library.disk import TrashRow
    from lmx_daemon.contract.admin.library.files import VerifyUpdate


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def rm(
        model: str | None = typer.Argument(None, help="Model, as `lmx ls` lists it."),
        yes: bool = YES,
        undo: bool = typer.Option(False, "--undo", help="Restore the model. Default: the last one removed."),
        trash: bool = typer.Option(False, "--list", help="List the models that can be restored."),
        empty: bool = typer.Option(False, "--empty", help="Delete the model permanently. Default: all of the trash."),
        json: bool = JSON,
    ) -> int:
        """Remove a model with all its revisions. It can be restored for a day."""
        if undo + trash + empty > 1:
            raise UsageError("--undo, --list and --empty exclude each other", hint="give one of them")
        return asyncio.run(_rm(output, model, yes, undo, trash, empty, json))

    @app.command()
    def du(json: bool = JSON) -> int:
        """Show the disk space of each model, and how much of it is unused."""
        return asyncio.run(_du(output, json))

    @app.command()
    def prune(
        dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would be deleted."),
        yes: bool = YES,
        json: bool = JSON,
    ) -> int:
        """Delete unused files: old revisions, orphaned blobs, partial files of old downloads."""
        return asyncio.run(_prune(output, dry_run, yes, json))

    @app.command(name="import")
    def bring(
        path: Annotated[Path, typer.Argument(help="Folder of a model, or a safetensors file beside its config.")],
        name: str | None = typer.Option(None, "--as", help="Id of the model, owner/name. Default: from the path."),
        copy: bool = typer.Option(False, "--copy", help="Copy the files instead of linking to them."),
        link: bool = typer.Option(False, "--link", help="Link to the files where they are. This is the default."),
        json: bool = JSON,
    ) -> int:
        """Add a model from any folder, and record its hashes."""
        return asyncio.run(_import(output, path, name, copy, link, json))


async def _rm(
    output: Output, name: str | None, yes: bool, undo: bool, trash: bool, empty: bool, json: bool
) -> int:  # one command with five actions on the trash
    from lmx_daemon.contract.admin.library.disk import PurgeRequest, RemoveRequest, UndoRequest
    from lmx_daemon.contract.errors import NotFoundError

    if name is None and not (trash or undo or empty):
        raise UsageError("name a model", hint="`lmx ls` lists them; `lmx rm --list` shows the trash")
    async with await started() as client:
        if trash:
            _show_trash(output, await client.trash(), json)
            return ExitCode.OK
        if undo:
            row = await client.undo_remove(UndoRequest(id=name))
            output.json(row) if json else output.text(f"{row.id} is restored, {size(row.size)}")
            return ExitCode.OK
        if empty:
            rows = [row for row in await client.trash() if name in (None, row.id)]
            if name is not None and not rows:
                raise NotFoundError(f"{name} is not in the trash", hint="`lmx rm --list` shows the trash")
            total = size(sum(row.size for row in rows))
            if rows and not output.confirm(f"permanently delete {_entries(len(rows))}, {total}?", yes=yes):
                return ExitCode.ERROR
            deleted = await client.purge(PurgeRequest(id=name))
            output.json(deleted) if json else output.text(
                f"deleted {_entries(len(deleted))}, {size(sum(r.size for r in deleted))}"
            )
            return ExitCode.OK
        assert name is not None
        details = await client.removal(RemoveRequest(id=name))
        model, now = details.model, time.time()
        whole = sum(revision.size for revision in details.revisions) or sum(row.size for row in details.files)
        used = f"last used {ago(model.used_at, now)}" if model.used_at else "never used"
        if not output.confirm(f"{model.id}, {size(whole)}, {used}: remove it?", yes=yes):
            return ExitCode.ERROR
        row = await client.remove_model(RemoveRequest(id=model.id))
    if json:
        output.json(row)
    else:
        output.paragraph(f"removed {row.id}, {size(row.size)}, {used}")
        output.note(f"it can be restored for {duration(row.purged_at - now)}: lmx rm --undo {row.id}")
    return ExitCode.OK


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'} of the trash"


def _show_trash(output: Output, rows: "list[TrashRow]", json: bool) -> None:
    if json:
        output.json(rows)
    elif not rows:
        output.note("the trash is empty")
    else:
        now = time.time()
        output.table(
            ("MODEL", "SIZE", "REMOVED", "DELETED IN", "KEY"),
            [
                (
                    f"{r.id}@{r.revision[:8]}" if r.revision else r.id,
                    size(r.size),
                    ago(r.removed_at, now),
                    duration(r.purged_at - now),
                    r.key,
                )
                for r in rows
            ],
            right=("SIZE",),
        )


async def _du(output: Output, json: bool) -> int:
    import msgspec

    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.prefixes import stored_prefixes

    async with await started() as client:
        use = await client.disk()
    kept = sum(one.size for one in stored_prefixes(Home.from_environment().prefixes))
    use = msgspec.structs.replace(use, prefixes=kept)
    if json:
        output.json(use)
        return ExitCode.OK
    if use.rows:
        output.table(
            ("MODEL", "ON DISK", "IN USE", "OLD", "ORPHANED", "PARTIAL", "FROM"),
            [
                (row.id, size(row.size), size(row.current), *(size(n or None) for n in (row.old, row.orphans)),
                 size(row.partial or None), row.source)
                for row in use.rows
            ],
            right=("ON DISK", "IN USE", "OLD", "ORPHANED", "PARTIAL"),
            spare=("FROM", "IN USE", "OLD"),
        )  # fmt: skip
    output.note(f"{size(use.total)} in models, {size(use.trash)} in the trash, {size(use.free)} free ({use.cache})")
    if use.prefixes:
        output.note(f"{size(use.prefixes)} of stored prompts: lmx cache ls, lmx cache clear")
    if use.reclaimable:
        output.note(f"{size(use.reclaimable)} unused: lmx prune")
    return ExitCode.OK


async def _prune(output: Output, dry_run: bool, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.disk import PruneRequest

    async with await started() as client:
        report = await client.prune(PruneRequest(dry_run=True))
        if not json and report.rows:
            output.table(
                ("MODEL", "WHAT", "SIZE", "PATH"),
                [(row.id, row.what, size(row.size), row.path) for row in report.rows],
                right=("SIZE",),
                elide=("PATH", "MODEL"),
            )
            if any(row.what == "unnamed revision" for row in report.rows):
                output.note("no branch or tag names these revisions; other programs can have pinned their commits")
        if report.rows and not dry_run:
            if not output.confirm(f"permanently delete {size(report.freed)}?", yes=yes):
                return ExitCode.ERROR
            report = await client.prune(PruneRequest(dry_run=False))
    if json:
        output.json(report)
    elif not report.rows:
        output.note("there are no unused files")
    else:
        output.text(f"{size(report.freed)} {'would be freed' if report.dry_run else 'freed'}")
    return ExitCode.OK


async def _import(output: Output, path: Path, name: str | None, copy: bool, link: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.files import ImportRequest
    from lmx_daemon.contract.errors import UsageError

    if copy and link:
        raise UsageError("--copy and --link are opposites", hint="give one of them")
    last: VerifyUpdate | None = None
    request = ImportRequest(path=os.path.abspath(os.path.expanduser(path)), id=name, copy=copy)
    async with await started() as client:
        async for last in client.import_model(request):
            output.progress(last.id, last.done / last.total if last.total else None, [last.state])
        output.progress("")
    if last is None:
        return ExitCode.ERROR
    if json:
        output.json(last)
    elif last.state == "recorded":
        how = "copied" if copy else "linked to its folder"
        output.paragraph(f"{last.id} is imported, {how}: {last.files} files, {size(last.total)}, hashes recorded")
    else:
        show_verification(output, last)
    return ExitCode.OK if last.state == "recorded" else ExitCode.ERROR
