"""`lmx pull`: download of a model from the Hub. The daemon downloads; the command shows the progress."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import usage_faults
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_cli.text.pull_text import name_of, progress, state_of, whole
from lmx_daemon.contract.units import size

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.library.pulls import Download, PullRequest

SHOWN_LEFT_OUT = 5
"""Number of files that the note about skipped files names."""
Included = Annotated[
    list[str],
    typer.Option(
        default_factory=list,
        show_default=False,
        metavar="PATTERN",
        help="Only files that match, such as '*.json', instead of the files that a model needs.",
    ),
]
Excluded = Annotated[
    list[str],
    typer.Option(
        default_factory=list,
        show_default=False,
        metavar="PATTERN",
        help="Leave out files that match. Repeatable, as --include.",
    ),
]


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def pull(
        repo: Annotated[str, typer.Argument(help="owner/name, owner/name@revision, or a Hub URL.")],
        include: Included,
        exclude: Excluded,
        revision: str | None = typer.Option(None, help="Branch, tag or commit. Default: the main branch."),
        quiet: bool = typer.Option(False, "--quiet", "-q", help="Print only errors."),
        detach: bool = typer.Option(False, "--detach", "-d", help="Do not wait for the download."),
        json: bool = typer.Option(False, "--json", help="Print the progress as JSON lines."),
    ) -> int:
        """Download a model from the Hugging Face Hub. Each file is verified by its hash."""
        from lmx_daemon.contract.admin.library.pulls import PullRequest

        request = PullRequest(
            repo=repo,
            revision=revision,
            include=tuple(include),
            exclude=tuple(exclude),
            token=os.environ.get("HF_TOKEN"),
        )
        return asyncio.run(_pull(output, request, quiet=quiet, detach=detach, json=json))


async def _pull(output: Output, request: "PullRequest", *, quiet: bool, detach: bool, json: bool) -> int:
    from lmx_daemon.contract.errors import DaemonUnreachableError

    _refuse_offline()
    async with await started() as client:
        with usage_faults():
            job = await client.pull(request)
        if detach:
            return _show_detached(output, job, quiet, json)
        try:
            async for update in client.watch_pull(job.id):
                job = update
                if json:
                    output.json_line(whole(job))
                elif not quiet:
                    output.progress(*progress(job))
        except asyncio.CancelledError:
            if output.ended_by is not None:
                raise  # SIGTERM or SIGHUP ends this command only; the daemon continues the pull
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # Ctrl-C: the pull has to be paused first
            output.progress("")
            job = await client.pause_pull(job.id)
            output.note(f"paused at {size(job.done)}; continue with: lmx pull {name_of(job)}")
            return ExitCode.INTERRUPTED
        except DaemonUnreachableError as error:
            output.progress("")
            message = "the connection to the daemon was lost; it continues the pull after a restart"
            raise DaemonUnreachableError(message, hint=error.hint) from error
        output.progress("")
    return _show_result(output, job, quiet or json)


def _refuse_offline() -> None:
    """Raise HubError if this process's environment forbids downloads; the daemon has an environment of its own."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        from lmx_daemon.contract.errors import HubError

        raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset it to pull")


def _show_detached(output: Output, job: "Download", quiet: bool, json: bool) -> int:
    if json:
        output.json(whole(job))
    elif not quiet:
        output.text(f"{job.repo} is {state_of(job)}; see: lmx downloads")
    return ExitCode.OK


def _show_result(output: Output, job: "Download", quiet: bool) -> int:
    from lmx_daemon.contract.errors import error_from

    if job.state != "done":
        if job.error is not None:
            raise error_from(job.error)
        if not quiet:
            output.note(f"{job.repo} is {job.state}; continue with: lmx pull {name_of(job)}")
        return ExitCode.ERROR
    if not quiet:
        before = f", {size(job.resumed)} of it resumed" if job.resumed else ""
        output.paragraph(
            f"{job.repo} is complete: {job.files_done} files, {size(job.done)}, each verified by its hash{before}"
        )
        if job.skipped:
            more = ", ..." if len(job.skipped) > SHOWN_LEFT_OUT else ""
            shown = ", ".join(job.skipped[:SHOWN_LEFT_OUT]) + more
            output.note(f"left out {len(job.skipped)} files that a model does not need: {shown}")
    return ExitCode.OK
