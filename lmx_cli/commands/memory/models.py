"""`lmx ps`, `load`, `unload`: loaded models."""

import asyncio
import time
from typing import TYPE_CHECKING

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import duration, size, tokens

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.protocol import LoadRequest
    from lmx_daemon.contract.models import Instance, MemoryPlan


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def ps(json: bool = JSON) -> int:
        """List the loaded models."""
        return asyncio.run(_ps(output, json))

    _add_load(app, output)
    _add_unload(app, output)


def _add_load(app: typer.Typer, output: Output) -> None:
    @app.command()
    def load(
        model: str = typer.Argument(help="Model, as `lmx ls` lists it."),
        context: int | None = typer.Option(
            None,
            "--context",
            "--context-length",
            min=1,
            metavar="TOKENS",
            help="Context length. Default: the model's own.",
        ),
        slots: int | None = typer.Option(
            None,
            "--slots",
            "--parallel",
            min=1,
            metavar="COUNT",
            help="Number of concurrent sequences. Memory is planned for all of them at full length.",
        ),
        ttl: float | None = typer.Option(
            None, metavar="SECONDS", help="Idle seconds after which the model is unloaded. Default: never."
        ),
        pin: bool | None = typer.Option(
            None, "--pin/--no-pin", help="Never unload the model to make room for another one."
        ),
        plan: bool = typer.Option(
            False, "--plan", "--estimate", "--estimate-only", help="Only show the memory plan, and whether it fits."
        ),
        json: bool = JSON,
    ) -> int:
        """Load a model. Starts the daemon if none runs, and unloads idle models if memory is needed."""
        from lmx_daemon.contract.admin.protocol import LoadRequest

        request = LoadRequest(model=model, context_length=context, slots=slots, ttl=ttl, pin=pin)
        return asyncio.run(_plan(output, request, json) if plan else load_model(output, request, json))


def _add_unload(app: typer.Typer, output: Output) -> None:
    @app.command()
    def unload(
        model: str | None = typer.Argument(None, help="Model or instance."),
        all_models: bool = typer.Option(False, "--all", help="Unload all models."),
        force: bool = typer.Option(False, "--force", help="Do not wait for running requests, which then fail."),
        json: bool = JSON,
    ) -> int:
        """Unload a model. Its process ends, which frees all its memory."""
        return asyncio.run(_unload(output, model, all_models, force, json))


async def _ps(output: Output, json: bool) -> int:
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    async with Client.of(Home.from_environment()) as client:
        instances = await client.instances()
    if json:
        output.json(instances)
        return ExitCode.OK
    if not instances:
        output.note("no model is loaded")
        return ExitCode.OK
    now = time.time()
    output.table(
        ("INSTANCE", "STATE", "MEMORY", "PLAN", "MAX CACHE", "CONTEXT", "RUN", "WAIT", "TOK/S", "USED", "UNLOADS"),
        [_ps_row(instance, now) for instance in instances],
        right=("MEMORY", "PLAN", "MAX CACHE", "CONTEXT", "RUN", "WAIT", "TOK/S", "USED", "UNLOADS"),
        spare=("MAX CACHE", "PLAN", "USED", "CONTEXT", "WAIT", "TOK/S", "UNLOADS"),
    )
    return ExitCode.OK


def _ps_row(instance: "Instance", now: float) -> tuple[str, ...]:
    state = instance.state if instance.progress is None else f"{instance.state} {instance.progress:.0%}"
    unloads = f"in {duration(instance.expires_at - now)}" if instance.expires_at else "-"
    if not instance.expires_at and instance.ttl is not None:
        unloads = f"after {duration(instance.ttl)}"
    return (
        instance.id,
        state,
        size(instance.held or instance.memory.active or None),
        size(instance.plan.bytes if instance.plan else None),
        size(instance.cache_limit or None),
        tokens(instance.capabilities.context_length if instance.capabilities else None),
        str(instance.running),
        str(instance.waiting),
        f"{instance.decode_rate:.1f}" if instance.decode_rate else "-",
        f"{duration(now - instance.used_at)} ago" if instance.used_at else "-",
        "pinned" if instance.pinned else unloads,
    )


async def load_model(output: Output, request: "LoadRequest", json: bool = False) -> int:
    """Load a model and wait until it is ready. Raises the LmxError with which the load failed."""
    last: Instance | None = None
    async with await started() as client:
        try:
            async for last in client.load(request):
                output.progress(last.model, last.progress, [last.stage or last.state])
        except asyncio.CancelledError:
            output.progress("")
            if last is not None:
                output.note(f"the daemon continues to load {last.model}; to stop it: lmx unload {last.model}")
            raise
        output.progress("")
    if last is None:
        return ExitCode.ERROR
    if json:
        output.json(last)
        return ExitCode.OK
    seconds = f" in {last.load_seconds:.1f} s" if last.load_seconds else ""
    output.paragraph(f"{last.id} is {last.state}{seconds}, {size(last.held)}")
    if last.plan is not None:
        output.note(f"planned {_planned(last.plan)}; its cache can use {size(last.cache_limit)} now")
    if last.note:
        output.note(last.note)
    if last.capabilities is not None:
        _note_shorter_context(output, request, last.capabilities.context_length)
    return ExitCode.OK


def _note_shorter_context(output: Output, request: "LoadRequest", context: int) -> None:
    """Note that a model has a shorter context than `request` asks for."""
    if request.context_length is not None and request.context_length > context:
        output.note(f"its context has {context} tokens, the model's maximum; {request.context_length} were requested")


async def _plan(output: Output, request: "LoadRequest", json: bool) -> int:
    async with await started() as client:
        verdict = await client.plan(request)
    ended = ExitCode.ERROR if verdict.outcome == "refused" else ExitCode.OK
    if json:
        output.json(verdict)
        return ended
    plan = verdict.plan
    sequences = f"{plan.slots} x {plan.context}" if plan.slots > 1 else str(plan.context)
    output.table(
        (verdict.model, "BYTES", "BASIS"),
        [
            ("weights", size(plan.weights.bytes), plan.weights.basis),
            (f"cache of {sequences} tokens", size(plan.cache.bytes), plan.cache.basis),
            ("scratch", size(plan.scratch.bytes), plan.scratch.basis),
            ("total", size(plan.bytes), ""),
            ("free for models", size(verdict.free), f"of {size(verdict.cap)}"),
        ],
        right=("BYTES",),
    )
    others = " and ".join(name.rpartition(":")[0] for name in verdict.others)
    verb, them = ("are", "them") if len(verdict.others) > 1 else ("is", "it")
    outcomes = {
        "fits": "it fits",
        "evicts": f"it fits once {others} {verb} unloaded; a load unloads {them}",
        "waits": f"it fits once {others} {verb} idle; a load waits until then",
        "refused": "it does not fit",
    }
    output.paragraph(outcomes[verdict.outcome])
    _note_shorter_context(output, request, plan.context)
    if verdict.error is not None and verdict.error.hint:
        output.note(f"hint: {verdict.error.hint}")
    return ended


def _planned(plan: "MemoryPlan") -> str:
    figures = {"weights": plan.weights, "cache": plan.cache, "scratch": plan.scratch}
    text = ", ".join(f"{name} {size(figure.bytes)} {figure.basis}" for name, figure in figures.items())
    return f"{size(plan.bytes)} ({text})"


async def _unload(output: Output, model: str | None, all_models: bool, force: bool, json: bool) -> int:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.admin.protocol import UnloadRequest
    from lmx_daemon.contract.errors import UsageError
    from lmx_daemon.settings.paths import Home

    if (model is None) == (not all_models):
        raise UsageError("name a model, or give --all", hint="`lmx ps` lists the loaded ones")
    async with Client.of(Home.from_environment()) as client:
        names = [instance.id for instance in await client.instances()] if model is None else [model]
        ended: list[Instance] = []
        for name in names:
            for instance in await client.unload(UnloadRequest(id=name, force=force)):
                ended.append(instance)
                if not json:
                    output.text(f"unloaded {instance.id}")
    if json:
        output.json(ended)
    elif not names:
        output.note("no model is loaded")
    return ExitCode.OK
