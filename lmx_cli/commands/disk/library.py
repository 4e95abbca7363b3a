"""`lmx ls`, `show`: the models on this disk, and their details."""

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import ago, size, tokens

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.config import ConfigView
    from lmx_daemon.contract.admin.library.files import Details
    from lmx_daemon.contract.models import Model

ABILITIES = ("tools", "thinking", "vision", "embedding")
SHOWN_COMMIT = 8


class SortKey(StrEnum):
    NAME = "name"
    SIZE = "size"
    USED = "used"
    CONTEXT = "context"
    PARAMETERS = "parameters"


class Ability(StrEnum):
    CHAT = "chat"
    TOOLS = "tools"
    THINKING = "thinking"
    VISION = "vision"
    EMBEDDING = "embedding"


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def ls(
        words: str | None = typer.Argument(
            None, help="Only models whose id, architecture or quantisation contains these words."
        ),
        sort: Annotated[
            SortKey, typer.Option(help="Sort order: by name, else the highest or latest first.")
        ] = SortKey.NAME,
        can: Annotated[Ability | None, typer.Option(help="Only models with this ability.")] = None,
        loaded: bool = typer.Option(False, "--loaded", help="Only loaded models."),
        source: str | None = typer.Option(None, help="Only models from: hub, lmstudio, imported, folder, built-in."),
        json: bool = JSON,
    ) -> int:
        """List the models on disk."""
        return asyncio.run(_ls(output, words, sort, can, loaded, source, json))

    @app.command()
    def show(
        model: str = typer.Argument(help="Model, as `lmx ls` lists it."),
        template: bool = typer.Option(False, "--template", help="Print only the chat template."),
        config: bool = typer.Option(False, "--config", help="Print only config.json."),
        json: bool = JSON,
    ) -> int:
        """Show the details of a model: files and hashes, config, template, licence, memory plan."""
        return asyncio.run(_show(output, model, template, config, json))


# ---- listing ----


async def _ls(
    output: Output, words: str | None, sort: SortKey, can: Ability | None, loaded: bool, source: str | None, json: bool
) -> int:
    async with await started() as client:
        models, instances = await asyncio.gather(client.models(), client.instances())
    states: dict[str, str] = {instance.model: instance.state for instance in instances}
    chosen = [
        model
        for model in models
        if _has(model, words)
        and (can is None or getattr(model, can.value))
        and (not loaded or model.id in states)
        and (source is None or model.source == source)
    ]
    chosen = ordered(chosen, sort)
    if json:
        output.json([{**_plain(model), "state": states.get(model.id, "on disk")} for model in chosen])
    elif not chosen:
        output.note("no model matches" if models else "there is no model here; lmx pull downloads one")
    else:
        now = time.time()
        output.table(
            ("MODEL", "SIZE", "QUANT", "CONTEXT", "ABILITIES", "USED", "VERIFIED", "REVISION", "STATE"),
            [_row(model, states.get(model.id, "-"), now) for model in chosen],
            right=("SIZE", "CONTEXT"),
            spare=("REVISION", "VERIFIED", "USED", "ABILITIES", "CONTEXT", "QUANT"),
            elide=("MODEL", "STATE"),
        )
    return ExitCode.OK


def _row(model: "Model", state: str, now: float) -> tuple[str, ...]:
    return (
        model.id,
        size(model.size),
        model.quantization or "-",
        tokens(model.context_length),
        " ".join(name for name in ABILITIES if getattr(model, name)) or "-",
        ago(model.used_at, now),
        ago(model.verified_at, now),
        (model.revision or "-")[:SHOWN_COMMIT] + (" (newer)" if model.newer else ""),
        model.problem or state,
    )


def ordered(models: "list[Model]", sort: SortKey) -> "list[Model]":
    """Return the models sorted by `sort`, the largest or latest first; models without a value come last."""
    match sort:
        case SortKey.NAME:
            return models
        case SortKey.SIZE:
            return sorted(models, key=lambda model: -model.size)
        case SortKey.USED:
            return sorted(models, key=lambda model: -(model.used_at or 0))
        case SortKey.CONTEXT:
            return sorted(models, key=lambda model: -(model.context_length or 0))
        case SortKey.PARAMETERS:
            return sorted(models, key=lambda model: -(model.parameters or 0))


def _has(model: "Model", words: str | None) -> bool:
    text = f"{model.id} {model.architecture} {model.quantization} {model.source}".lower()
    return words is None or all(word in text for word in words.lower().split())


def _plain(model: "Model") -> "dict[str, object]":
    import msgspec

    plain: dict[str, object] = msgspec.structs.asdict(model)
    return plain


# ---- one model ----


async def _show(output: Output, name: str, template: bool, config: bool, json: bool) -> int:
    async with await started() as client:
        details, settings = await asyncio.gather(client.details(name), client.config())
    if template:
        output.content(details.template + ("" if details.template.endswith("\n") else "\n"))
    elif config:
        output.json(details.config)
    elif json:
        output.json(details)
    else:
        _show_all(output, details, _own_settings(settings, details.model.id))
    return ExitCode.OK


def _own_settings(view: "ConfigView", identity: str) -> str:
    """Return the settings of [models."ID"] on one line; "-" if there are none."""
    from lmx_daemon.settings.checks.faults import shown

    own = [row for row in view.rows if row.section == "models" and row.key == f'models."{identity}".{row.name}']
    return ", ".join(f"{row.name} = {shown(row.value)}" for row in own) or "-"


def _show_all(output: Output, details: "Details", settings: str) -> None:
    rows = _facts(details) | {"settings": settings}
    output.fields(list(rows.items()))
    output.text()
    output.table(
        ("FILE", "SIZE", "HASH", "STATE"),
        [(row.path, size(row.size), row.hash or "-", row.note or row.state) for row in details.files],
        right=("SIZE",),
        elide=("HASH", "FILE", "STATE"),
    )
    if len(details.revisions) > 1:
        output.text()
        output.table(
            ("REVISION", "SIZE", "NAMES", "STATE"),
            [
                (revision.commit, size(revision.size), " ".join(revision.refs) or "-", "in use" * revision.current)
                for revision in details.revisions
            ],
            right=("SIZE",),
            elide=("REVISION", "NAMES"),
        )
    if details.template:
        length, identity = len(details.template), details.model.id
        output.text()
        output.paragraph(f"chat template of {length} characters: lmx show {identity} --template")


def _facts(details: "Details") -> dict[str, str]:
    model, now = details.model, time.time()
    can = [name for name in ("chat", *ABILITIES) if getattr(model, name)]
    if model.tool_parser:
        can = [f"tools ({model.tool_parser})" if name == "tools" else name for name in can]
    rows = {
        "model": model.id,
        "from": f"{model.source}, {model.path}",
        "revision": (model.revision or "-") + (f", upstream has {model.newer[:SHOWN_COMMIT]}" if model.newer else ""),
        "weights": f"{size(model.size)}, {model.quantization or 'not quantised'}",
        "parameters": _parameters(model.parameters),
        "architecture": model.architecture or "-",
        "context": f"{model.context_length:,} tokens" if model.context_length else "-",
        "can": ", ".join(can) or "-",
        "licence": model.license or "-",
        "memory": _memory(details),
        "used": ago(model.used_at, now),
        "verified": f"{ago(model.verified_at, now)}, against {details.proof}" if model.verified_at else "never",
        "code": (", ".join(model.code) + (" (trusted)" if model.trusted else "")) if model.code else "none",
    }
    if model.source == "built-in":
        rows["verified"] = details.proof
    if model.problem:
        rows["problem"] = model.problem
    return rows


def _parameters(count: int | None) -> str:
    if count is None:
        return "-"
    for unit, name in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def _memory(details: "Details") -> str:
    plan = details.memory
    if plan is None:
        return "-"
    parts = {"weights": plan.weights, "cache": plan.cache, "scratch": plan.scratch}
    figures = ", ".join(f"{name} {size(figure.bytes)} ({figure.basis})" for name, figure in parts.items())
    return f"{size(plan.bytes)} at {plan.context:,} tokens: {figures}; fits here: {details.fit}"
