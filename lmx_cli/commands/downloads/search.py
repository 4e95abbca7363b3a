"""`lmx search`, `recommend`, `outdated`, `update`: models of the Hub, and which of them fit this machine."""

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.disk.library import ABILITIES, SHOWN_COMMIT
from lmx_cli.commands.options import JSON, YES
from lmx_cli.connect import started
from lmx_cli.output import ExitCode, Output
from lmx_cli.text.pull_text import progress
from lmx_daemon.contract.units import ago, duration, size, tokens

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.library.hub import Offer, Offers, SearchRequest
    from lmx_daemon.contract.admin.library.pulls import Download

FITS = {"yes": "yes", "after unloading": "if others are unloaded", "no": "no", "unknown": "-"}


class SearchSort(StrEnum):
    DOWNLOADS = "downloads"
    LIKES = "likes"
    UPDATED = "updated"
    CREATED = "created"
    TRENDING = "trending"
    SIZE = "size"


def add(app: typer.Typer, output: Output) -> None:
    _add_search(app, output)

    @app.command()
    def recommend(
        context: int | None = typer.Option(
            None, min=1, help="Context length of the memory plan, in tokens. Default: 8192."
        ),
        every: bool = typer.Option(False, "--all", help="Include models that do not fit."),
        json: bool = JSON,
    ) -> int:
        """Recommend models that fit this machine, with reasons."""
        return asyncio.run(_recommend(output, context, every, json))

    @app.command()
    def outdated(json: bool = JSON) -> int:
        """List models that have a newer version on the Hub."""
        return asyncio.run(_outdated(output, json))

    @app.command()
    def update(
        model: str | None = typer.Argument(None, help="Model, as `lmx ls` lists it."),
        every: bool = typer.Option(False, "--all", help="Update all outdated models."),
        yes: bool = YES,
        json: bool = JSON,
    ) -> int:
        """Fetch the newer version of a model. The old one stays until the new one is verified."""
        return asyncio.run(_update(output, model, every, yes, json))


def _add_search(app: typer.Typer, output: Output) -> None:
    @app.command()
    def search(
        words: Annotated[list[str] | None, typer.Argument(help="Words of the model's name.")] = None,
        fits: bool = typer.Option(False, "--fits", help="Only models that fit this machine."),
        author: str | None = typer.Option(None, help="Only models of this owner, for example mlx-community."),
        tools: bool = typer.Option(False, "--tools", help="Only models that can call tools."),
        vision: bool = typer.Option(False, "--vision", help="Only models that accept images."),
        embedding: bool = typer.Option(False, "--embedding", help="Only embedding models."),
        quant: str | None = typer.Option(
            None, help="Only models of this quantisation: 4bit, 8bit, mxfp4, bfloat16 ..."
        ),
        sort: Annotated[SearchSort, typer.Option(help="Sort order, highest first.")] = SearchSort.DOWNLOADS,
        limit: int = typer.Option(20, min=1, max=100, help="Maximum number of results."),
        context: int | None = typer.Option(
            None, min=1, help="Context length of the memory plan, in tokens. Default: 8192."
        ),
        json: bool = JSON,
    ) -> int:
        """Search the Hugging Face Hub for MLX models. Shows which of them fit this machine."""
        from lmx_daemon.contract.admin.library.hub import SearchRequest

        request = SearchRequest(
            words=" ".join(words or ()),
            author=author,
            tools=tools,
            vision=vision,
            embedding=embedding,
            quantization=quant,
            fits=fits,
            sort=sort.value,
            limit=limit,
            context_length=context,
        )
        return asyncio.run(_search(output, request, json))


async def _search(output: Output, request: "SearchRequest", json: bool) -> int:
    async with await started() as client:
        output.progress("asking the Hub")
        found = await client.search(request)
        output.progress("")
    if json:
        output.json(found)
        return ExitCode.OK
    if not found.offers:
        output.note("no MLX model matches")
    else:
        output.table(
            ("MODEL", "SIZE", "QUANT", "CONTEXT", "ABILITIES", "LICENCE", "DOWNLOADS", "UPDATED", "NEEDS", "FITS"),
            [_row(offer) for offer in found.offers],
            right=("SIZE", "CONTEXT", "DOWNLOADS", "NEEDS"),
            elide=("MODEL", "LICENCE"),
            spare=("UPDATED", "LICENCE", "DOWNLOADS", "ABILITIES", "QUANT"),
        )
    _show_source(output, found)
    return ExitCode.OK


def _row(offer: "Offer") -> tuple[str, ...]:
    return (
        offer.id + (" (here)" if offer.here else "") + (" (gated)" if offer.gated else ""),
        size(offer.size),
        offer.quantization or "-",
        tokens(offer.context_length),
        " ".join(name for name in ABILITIES if getattr(offer, name)) or "-",
        offer.license or "-",
        _count(offer.downloads),
        ago(offer.updated_at, time.time()),
        size(offer.memory),
        FITS[offer.fit],
    )


def _count(number: int | None) -> str:
    if number is None:
        return "-"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.0f}k" if number >= 10_000 else str(number)


def _show_source(output: Output, found: "Offers") -> None:
    context = next((offer.memory_context for offer in found.offers if offer.memory_context), None)
    if context:
        output.note(f"needs: memory at {context:,} tokens of context; models may use {size(found.cap)} here")
    if found.from_cache:
        when = f"as of {duration(time.time() - found.asked_at)} ago" if found.asked_at else "not checked"
        output.note(f"{when}: {found.note}")


async def _recommend(output: Output, context: int | None, every: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.hub import RecommendRequest

    async with await started() as client:
        output.progress("asking the Hub")
        found = await client.recommend(RecommendRequest(context_length=context, every=every))
        output.progress("")
    if json:
        output.json(found)
        return ExitCode.OK
    for offer in found.offers:
        about = "about " if offer.approximate else ""
        marks = [
            f"{about}{size(offer.size)} to download",
            f"{size(offer.memory)} in memory",
            f"fits: {FITS[offer.fit]}",
        ]
        output.text(offer.id + (" (here)" if offer.here else ""))
        output.paragraph(offer.reason or "", indent=4)
        output.paragraph(", ".join(marks), indent=4)
    if not found.offers:
        output.note(f"none of lmx's recommendations fits in {size(found.cap)}; see them with --all")
    else:
        first = next((offer for offer in found.offers if not offer.here and offer.fit == "yes"), None)
        if first is not None:
            output.note(f"fetch the first with: lmx pull {first.id}")
    _show_source(output, found)
    return ExitCode.OK


async def _outdated(output: Output, json: bool) -> int:
    async with await started() as client:
        output.progress("asking the Hub")
        found = await client.outdated()
        output.progress("")
    if json:
        output.json(found)
        return ExitCode.OK
    shown = [row for row in found.rows if row.newer or row.error]
    if shown:
        output.table(
            ("MODEL", "HERE", "UPSTREAM"),
            [(r.id, r.commit[:SHOWN_COMMIT], r.newer[:SHOWN_COMMIT] if r.newer else str(r.error)) for r in shown],
            elide=("MODEL", "UPSTREAM"),
        )
    newer = [row for row in found.rows if row.newer]
    if newer:
        output.note(f"{len(newer)} of {len(found.rows)} outdated; fetch the newer versions with: lmx update --all")
    else:
        models = "1 model" if len(found.rows) == 1 else f"{len(found.rows)} models"
        output.note(f"{models} checked, none is outdated")
    return ExitCode.OK


async def _update(output: Output, name: str | None, every: bool, yes: bool, json: bool) -> int:
    from lmx_daemon.contract.admin.library.hub import UpdateRequest
    from lmx_daemon.contract.errors import UsageError, error_from

    if (name is None) == (not every):
        raise UsageError("name a model, or give --all", hint="`lmx outdated` lists those with a newer version")
    ended: list[Download] = []
    async with await started() as client:
        names = [name] if name else [row.id for row in (await client.outdated()).rows if row.newer]
        question = f"update {', '.join(names)}: fetch the newer version, remove the replaced one?"
        if names and not output.confirm(question, yes=yes):
            return ExitCode.ERROR
        for one in names:
            last: Download | None = None
            async for last in client.update_model(UpdateRequest(id=one)):
                output.progress(*progress(last))
            output.progress("")
            if last is None:
                continue
            ended.append(last)
            if last.state != "done" and last.error is not None:
                output.error(error_from(last.error))
            elif not json:
                output.text(f"{last.repo} is at {(last.revision or '-')[:SHOWN_COMMIT]} ({last.state})")
    if json:
        output.json(ended)
    elif not names:
        output.note("nothing is outdated")
    return ExitCode.OK if all(job.state == "done" for job in ended) else ExitCode.ERROR
