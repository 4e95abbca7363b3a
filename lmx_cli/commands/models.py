"""`lmx ps`, `load`, `unload`, `pull`: models in memory, and on their way."""

import asyncio
import time
from typing import TYPE_CHECKING

import typer

from lmx_cli.output import ExitCode, Output, duration, size, tokens

if TYPE_CHECKING:
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.types import Download, Instance

JSON = typer.Option(False, "--json", help="As JSON.")


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def ps(json: bool = JSON) -> int:
        """List the models in memory."""
        return asyncio.run(_ps(output, json))

    @app.command()
    def load(
        model: str = typer.Argument(help="As `lmx ls` shows it."),
        context: int | None = typer.Option(None, min=1, help="Context length in tokens; the model's own if not given."),
        ttl: float | None = typer.Option(
            None, help="Seconds of idleness after which it is unloaded; never if not given."
        ),
    ) -> int:
        """Load a model; starts the daemon if there is none."""
        return asyncio.run(_load(output, model, context, ttl))

    @app.command()
    def unload(
        model: str | None = typer.Argument(None, help="Model or instance."),
        all_models: bool = typer.Option(False, "--all", help="Every loaded model."),
        force: bool = typer.Option(False, "--force", help="Do not wait for running requests; they fail."),
    ) -> int:
        """Unload a model; its process ends, and all its memory comes back."""
        return asyncio.run(_unload(output, model, all_models, force))

    @app.command()
    def pull(
        repo: str = typer.Argument(help="For example mlx-community/Qwen3-0.6B-4bit; @revision may follow."),
        json: bool = typer.Option(False, "--json", help="Progress as JSON lines."),
    ) -> int:
        """Download a model from the Hugging Face Hub; every file is proved by its hash."""
        return asyncio.run(_pull(output, repo, json))


async def started() -> "Client":
    """A client of the daemon, which is started if there is none."""
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.config import Home
    from lmx_daemon.contract.spawn import find_or_start

    home = Home.from_environment()
    await find_or_start(home)
    return Client(home.socket)


async def _ps(output: Output, json: bool) -> int:
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.config import Home

    async with Client(Home.from_environment().socket) as client:
        instances = await client.instances()
    if json:
        output.json(instances)
        return ExitCode.OK
    if not instances:
        output.note("no model is loaded")
        return ExitCode.OK
    now = time.time()
    output.table(
        ("INSTANCE", "STATE", "MEMORY", "CONTEXT", "RUNNING", "WAITING", "TOK/S", "USED", "UNLOADS IN"),
        [_ps_row(instance, now) for instance in instances],
        right=("MEMORY", "CONTEXT", "RUNNING", "WAITING", "TOK/S", "USED", "UNLOADS IN"),
    )
    return ExitCode.OK


def _ps_row(instance: "Instance", now: float) -> tuple[str, ...]:
    state = instance.state if instance.progress is None else f"{instance.state} {instance.progress:.0%}"
    return (
        instance.id,
        state,
        size(instance.memory.active or None),
        tokens(instance.capabilities.context_length if instance.capabilities else None),
        str(instance.running),
        str(instance.waiting),
        f"{instance.decode_rate:.1f}" if instance.decode_rate else "-",
        f"{duration(now - instance.used_at)} ago" if instance.used_at else "-",
        duration(instance.expires_at - now) if instance.expires_at else "-",
    )


async def _load(output: Output, model: str, context: int | None, ttl: float | None) -> int:
    from lmx_daemon.contract.types import LoadRequest

    last: Instance | None = None
    async with await started() as client:
        async for last in client.load(LoadRequest(model=model, context_length=context, ttl=ttl)):
            fraction = "" if last.progress is None else f" {last.progress:.0%}"
            output.progress(f"{last.model}: {last.stage or last.state}{fraction}")
        output.progress("")
    if last is None:
        return ExitCode.ERROR
    seconds = f" in {last.load_seconds:.1f} s" if last.load_seconds else ""
    output.text(f"{last.id} is {last.state}{seconds}, {size(last.memory.active)}")
    if last.note:
        output.note(last.note)
    return ExitCode.OK


async def _unload(output: Output, model: str | None, all_models: bool, force: bool) -> int:
    from lmx_daemon.contract.client import Client
    from lmx_daemon.contract.config import Home
    from lmx_daemon.contract.errors import RequestError
    from lmx_daemon.contract.types import UnloadRequest

    if (model is None) == (not all_models):
        raise RequestError("name a model, or give --all", hint="`lmx ps` lists the loaded ones")
    async with Client(Home.from_environment().socket) as client:
        names = [instance.id for instance in await client.instances()] if model is None else [model]
        for name in names:
            for instance in await client.unload(UnloadRequest(id=name, force=force)):
                output.text(f"unloaded {instance.id}")
    if not names:
        output.note("no model is loaded")
    return ExitCode.OK


async def _pull(output: Output, repo: str, json: bool) -> int:
    from lmx_daemon.contract.types import PullRequest

    name, _, revision = repo.partition("@")
    async with await started() as client:
        job = await client.pull(PullRequest(repo=name, revision=revision or None))
        try:
            async for update in client.watch_pull(job.id):
                job = update
                if json:
                    output.json_line(job)
                else:
                    output.progress(_progress(job))
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # Ctrl-C: there is one last thing to do
            output.progress("")
            await client.cancel_pull(job.id)
            output.note(f"paused at {size(job.done)}; go on with: lmx pull {repo}")
            return ExitCode.INTERRUPTED
        output.progress("")
    return _pull_end(output, job, json)


def _pull_end(output: Output, job: "Download", json: bool) -> int:
    from lmx_daemon.contract.errors import error_from

    if job.state != "done":
        if job.error is not None:
            raise error_from(job.error)
        output.note(f"{job.repo}: {job.state}")
        return ExitCode.ERROR
    if not json:
        seconds = f", {size(job.resumed)} of it from before" if job.resumed else ""
        output.text(f"{job.repo} is here: {job.files_done} files, {size(job.done)}, each proved by its hash{seconds}")
        if job.skipped:
            shown = ", ".join(job.skipped[:5]) + (", ..." if len(job.skipped) > 5 else "")
            output.note(f"left out {len(job.skipped)} files that a model does not need: {shown}")
    return ExitCode.OK


def _progress(job: "Download") -> str:
    share = f"{job.done / job.total:4.0%} " if job.total else ""
    files = f"{job.files_done}/{job.files_total} files" if job.files_total is not None else ""
    parts = [f"{size(job.done)} of {size(job.total)}", f"{size(int(job.rate))}/s", f"ETA {duration(job.eta)}", files]
    return f"{job.state} {share}" + " · ".join(part for part in parts if part)
