"""`lmx launch`: coding agents started with a model of this machine."""

import asyncio
import difflib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output

if TYPE_CHECKING:
    from lmx_cli.launch.agents import Agent
    from lmx_cli.launch.files import FileChange
    from lmx_cli.launch.target import AgentTarget, Places
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.models import Model

ARGUMENTS = Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Arguments for the agent, after --.")]
MASK = "***"
"""Text that is shown instead of an API key."""


@dataclass(frozen=True)
class Launch:
    """A start that is prepared: nothing is written or loaded yet."""

    agent: "Agent"
    target: "AgentTarget"
    program: str
    arguments: list[str]
    environment: dict[str, str]
    changes: "list[FileChange]"
    load: int | None
    """Context length to load the model with; None is the default."""


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def launch(
        agent: str | None = typer.Argument(None, metavar="AGENT", help="Agent, as `lmx launch` lists it."),
        arguments: ARGUMENTS = None,
        model: str | None = typer.Option(None, "--model", "-m", help="Model. Default: the best suitable one."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Only show the command and the changes to files."),
        restore: bool = typer.Option(
            False, "--restore", help="Restore the configuration from before the first launch."
        ),
        json: bool = JSON,
    ) -> int:
        """Start a coding agent with a local model, as in: lmx launch codex. Without AGENT, list what is installed."""
        from lmx_daemon.contract.errors import UsageError

        if agent is None and (dry_run or restore or model is not None):
            raise UsageError("--model, --dry-run and --restore need an agent", hint="as in: lmx launch codex --dry-run")
        if agent is None:
            return _list(output, json)
        if json and not dry_run:
            raise UsageError("--json needs --dry-run if an agent is named", hint=f"lmx launch {agent} --dry-run --json")
        found = _agent(agent)
        if restore:
            return _restore(output, found)
        prepared = asyncio.run(_launch(output, found, arguments or [], model, dry_run))
        if dry_run:
            _show(output, prepared, json)
            return ExitCode.OK
        return _execute(output, prepared)


def _agent(name: str) -> "Agent":
    from lmx_cli.launch.agents import AGENTS
    from lmx_daemon.contract.errors import UsageError

    if name in AGENTS:
        return AGENTS[name]
    near = difflib.get_close_matches(name.lower(), AGENTS, 1)
    hint = f"did you mean {near[0]}?" if near else f"lmx launches {', '.join(AGENTS)}; docs/agents.md has others"
    raise UsageError(f"{name} is not an agent that lmx launches", hint=hint)


def _list(output: Output, json: bool) -> int:
    from lmx_cli.launch.agents import AGENTS

    found = [(agent, shutil.which(agent.program)) for agent in AGENTS.values()]
    if json:
        output.json(
            [{"name": a.name, "installed": path is not None, "path": path, "install": a.install} for a, path in found]
        )
        return ExitCode.OK
    installed = [(agent.name, path) for agent, path in found if path is not None]
    if installed:
        output.table(("AGENT", "PROGRAM"), installed, elide=("PROGRAM",))
    for agent, path in found:
        if path is None:
            output.note(f"{agent.name} is not installed: {agent.install}")
    return ExitCode.OK


def _places() -> "Places":
    from lmx_cli.launch.target import Places
    from lmx_daemon.settings.paths import Home

    return Places(Path.home(), Home.from_environment().launch, os.environ)


def _restore(output: Output, agent: "Agent") -> int:
    from lmx_cli.launch.files import REPLACED, restore
    from lmx_cli.launch.target import AgentTarget

    paths = [file.path for file in agent.files(AgentTarget("", "", "", 0), _places())]
    done = [(path, restore(path)) for path in paths]
    for path, result in done:
        if result is not None:
            output.text(f"{path}: {result}; its last content is in {path.name}{REPLACED}")
    if all(result is None for _, result in done):
        output.note(f"there is no backup of a configuration of {agent.name}")
    return ExitCode.OK


async def _launch(output: Output, agent: "Agent", arguments: list[str], model: str | None, dry_run: bool) -> Launch:
    """Prepare a launch and, unless `dry_run`, load the model, check the route and write the files."""
    from lmx_cli.launch.files import write_change
    from lmx_cli.launch.route import check_route
    from lmx_daemon.contract.errors import NotFoundError

    program = shutil.which(agent.program)
    if program is None:
        raise NotFoundError(f"{agent.program} is not on the PATH", hint=f"install it: {agent.install}")
    async with await started() as client:
        prepared = await _prepared(client, agent, program, arguments, model, make_key=not dry_run)
        if dry_run:
            return prepared
        await _load(output, client, prepared)
    output.progress(f"checking {prepared.target.address}{agent.route}")
    await check_route(agent, prepared.target)
    output.progress("")
    for change in prepared.changes:
        if change.differs:
            write_change(change)
            output.note(f"changed {change.path}; `lmx launch {agent.name} --restore` brings it back")
    return prepared


async def _prepared(
    client: "Client", agent: "Agent", program: str, arguments: list[str], model: str | None, *, make_key: bool
) -> Launch:
    from lmx_cli.launch.choose import candidates, check, named
    from lmx_cli.launch.files import change_of
    from lmx_cli.launch.target import NO_KEY, AgentTarget
    from lmx_cli.own_port import own_port
    from lmx_daemon.settings.paths import Home

    models = await client.models()
    if model is None:
        suitable = candidates(agent, models, await client.instances())
    else:
        suitable = [named(model, models, await client.aliases())]
        check(agent, suitable[0])
    chosen, context, load = await _fitting(client, agent, suitable)
    port = await own_port(client, Home.from_environment(), await client.status(), make=make_key)
    target = AgentTarget(port.address, port.key or NO_KEY, chosen.id, context, chosen.vision)
    places = _places()
    return Launch(
        agent,
        target,
        program,
        [*agent.arguments(target, places), *arguments],
        agent.environment(target),
        [change_of(file) for file in agent.files(target, places)],
        load,
    )


async def _fitting(client: "Client", agent: "Agent", suitable: "list[Model]") -> "tuple[Model, int, int | None]":
    """Return the first model that fits into memory, its context, and the context to load it with.

    Raises LmxError, with the reason of the last one, if none fits.
    """
    from lmx_cli.launch.choose import contexts
    from lmx_daemon.contract.admin.protocol import LoadRequest
    from lmx_daemon.contract.errors import LmxError

    loaded = {each.model: each.capabilities.context_length for each in await client.instances() if each.capabilities}
    reason = ""
    for model in suitable:
        if loaded.get(model.id, 0) >= agent.minimum:
            return model, loaded[model.id], None
        if model.id in loaded:
            reason = (
                f"{model.id} is loaded with a context of {loaded[model.id]:,} tokens; `lmx unload {model.id}` first"
            )
            continue
        for length in contexts(agent, model):
            verdict = await client.plan(LoadRequest(model=model.id, context_length=length))
            if verdict.outcome != "refused" and verdict.plan.context >= agent.minimum:
                return model, verdict.plan.context, length
            reason = verdict.error.message if verdict.error else f"{model.id} has a context of {verdict.plan.context:,}"
    raise LmxError(
        f"no model can be loaded with the {agent.minimum:,} tokens of context that {agent.name} needs: {reason}",
        hint="`lmx load ID --plan` shows the memory of a model; a smaller one may fit",
    )


async def _load(output: Output, client: "Client", prepared: Launch) -> None:
    """Load the model if it is not loaded, and show the progress."""
    from lmx_daemon.contract.admin.protocol import LoadRequest

    model = prepared.target.model
    if any(instance.model == model and instance.state == "ready" for instance in await client.instances()):
        return
    async for instance in client.load(LoadRequest(model=model, context_length=prepared.load)):
        output.progress(model, instance.progress, [instance.stage or instance.state])
    output.progress("")


def _show(output: Output, prepared: Launch, json: bool) -> None:
    """Show a launch: the changes of files, the variables and the command. The API key is masked."""
    from lmx_cli.launch.target import NO_KEY

    target = prepared.target
    secret = target.key != NO_KEY
    environment = {
        name: MASK if secret and value == target.key else value for name, value in prepared.environment.items()
    }
    if json:
        shown: dict[str, Any] = {
            "agent": prepared.agent.name,
            "model": target.model,
            "context": target.context,
            "output": target.output,
            "environment": environment,
            "command": [prepared.program, *prepared.arguments],
            "files": [{"path": str(change.path), "diff": change.diff()} for change in prepared.changes],
        }
        output.json(shown)
        return
    for change in prepared.changes:
        if change.differs:
            output.content(change.diff())
    output.text(*(f"{name}={shlex.quote(value)}" for name, value in environment.items()))
    output.text(shlex.join([prepared.program, *prepared.arguments]))


def _execute(output: Output, prepared: Launch) -> int:
    """Replace this process by the agent. Returns only if the program cannot be started."""
    from lmx_daemon.contract.errors import LmxError

    target = prepared.target
    output.note(f"{prepared.agent.name} with {target.model}, context {target.context:,} tokens")
    sys.stdout.flush()
    command = [prepared.program, *prepared.arguments]
    try:
        os.execve(prepared.program, command, os.environ | prepared.environment)
    except OSError as error:
        raise LmxError(
            f"cannot start {prepared.program}: {error.strerror or error}",
            hint=f"install it again, or see: ls -l {prepared.program}",
        ) from error
