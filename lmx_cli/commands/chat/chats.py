"""`lmx chats`: the conversations that the daemon keeps: list, search, show, export, import, remove and restore."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.options import JSON, YES
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.units import counted, duration

if TYPE_CHECKING:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.admin.chats import ChatRow, ExportForm, StoredMessage

ID = typer.Argument(help="Id of a chat, or its beginning.")
LIMIT = typer.Option(20, "--limit", "-n", min=1, max=10_000, help="Number of chats.")


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Show, search and export the conversations of the TUI.")
    app.add_typer(group, name="chats")

    @group.callback(invoke_without_command=True)
    def chats(context: typer.Context, json: bool = JSON) -> int:
        return ExitCode.OK if context.invoked_subcommand else asyncio.run(_list(output, 20, False, "", json))

    _add_reading(group, output)
    _add_files(group, output)
    _add_trash(group, output)


def _add_reading(group: typer.Typer, output: Output) -> None:
    @group.command("list")
    def list_chats(
        limit: int = LIMIT,
        trash: bool = typer.Option(False, "--trash", help="List the deleted chats instead."),
        tag: str = typer.Option("", "--tag", metavar="TAG", help="Only chats with this tag."),
        json: bool = JSON,
    ) -> int:
        """List the chats: pinned ones first, then those with the latest changes."""
        return asyncio.run(_list(output, limit, trash, tag, json))

    @group.command()
    def search(
        words: Annotated[list[str], typer.Argument(help="Words, in any order.")], limit: int = LIMIT, json: bool = JSON
    ) -> int:
        """Search the titles and all messages of the chats."""
        return asyncio.run(_search(output, " ".join(words), limit, json))

    @group.command()
    def show(chat: str = ID, json: bool = JSON) -> int:
        """Print the selected branch of a chat. With --json, print all branches."""
        return asyncio.run(_show(output, chat, json))


def _add_files(group: typer.Typer, output: Output) -> None:
    @group.command()
    def export(
        chat: str = ID,
        json: bool = typer.Option(False, "--json", help="Export all branches as JSON instead of Markdown."),
        to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="File to create.")] = None,
    ) -> int:
        """Print a chat as Markdown, or as JSON that `lmx chats import` reads."""
        return asyncio.run(_export(output, chat, "json" if json else "markdown", to))

    @group.command("import")
    def import_files(
        files: Annotated[
            list[Path] | None,
            typer.Argument(
                metavar="FILE|DIR",
                help="Chats of LM Studio or of `lmx chats export --json`. Default: all chats of LM Studio.",
            ),
        ] = None,
        json: bool = JSON,
    ) -> int:
        """Import chats of LM Studio or of lmx. Chats that exist already are skipped."""
        return asyncio.run(_import(output, files or [], json))


def _add_trash(group: typer.Typer, output: Output) -> None:
    @group.command()
    def rm(
        chat: str = ID,
        message: str = typer.Option(
            "", "--from", metavar="MESSAGE", help="Remove only this message and those that follow it."
        ),
        json: bool = JSON,
    ) -> int:
        """Move a chat, or some of its messages, to the trash. `lmx chats show --json` prints the ids of messages."""
        if message:
            return asyncio.run(_remove_messages(output, chat, message, json))
        return asyncio.run(_remove(output, chat, json))

    @group.command()
    def restore(
        chat: str = ID,
        messages: bool = typer.Option(False, "--messages", help="Restore the messages that were removed last."),
        json: bool = JSON,
    ) -> int:
        """Restore a chat, or some of its messages, from the trash."""
        if messages:
            return asyncio.run(_restore_messages(output, chat, json))
        return asyncio.run(_restore(output, chat, json))

    @group.command("empty-trash")
    def empty_trash(yes: bool = YES, json: bool = JSON) -> int:
        """Remove the deleted chats for good."""
        return asyncio.run(_empty(output, yes, json))


def _client() -> "Client":
    from lmx_daemon.client.client import Client
    from lmx_daemon.settings.paths import Home

    return Client.of(Home.from_environment())


async def _list(output: Output, limit: int, trash: bool, tag: str, json: bool) -> int:
    async with _client() as client:
        rows = await client.chats(limit=limit, deleted=trash, tag=tag)
    return _print(output, rows, json, "there is no chat")


async def _search(output: Output, words: str, limit: int, json: bool) -> int:
    async with _client() as client:
        rows = await client.search_chats(words, limit=limit)
    return _print(output, rows, json, "no chat has these words")


def _print(output: Output, rows: "list[ChatRow]", json: bool, nothing: str) -> int:
    if json:
        output.json(rows)
    elif rows:
        now = time.time()
        found = any(row.snippet for row in rows)
        last = "FOUND" if found else "TAGS"
        output.table(
            ("ID", "AGO", "TITLE", "MODEL", "MESSAGES", last),
            [_cells(row, now, found) for row in rows],
            right=("AGO", "MESSAGES"),
            spare=("MODEL", "MESSAGES", last),
            elide=("TITLE", "MODEL", last),
        )
    else:
        output.note(nothing)
    return ExitCode.OK


def _cells(row: "ChatRow", now: float, found: bool) -> tuple[str, ...]:
    last = row.snippet if found else ", ".join((*row.tags, *(["pinned"] if row.pinned else [])))
    return row.id, duration(max(0.0, now - row.changed_at)), row.name, row.model or "-", str(row.messages), last


async def _show(output: Output, chat: str, json: bool) -> int:
    from lmx_daemon.contract.admin.chat_tree import path_to

    async with _client() as client:
        found = await client.chat(await client.find_chat(chat))
    if json:
        output.json(found)
        return ExitCode.OK
    output.content(f"{found.row.name}\n")
    for message in path_to(found.messages, found.leaf):
        output.content(f"\n{_heading(message)}\n", dim=True)
        output.content(f"{message.text.rstrip()}\n")
    return ExitCode.OK


def _heading(message: "StoredMessage") -> str:
    parts: list[str] = [message.role]
    if message.model:
        parts.append(message.model)
    if message.figures is not None and message.figures.rate:
        parts.append(f"{message.figures.tokens} tok, {message.figures.rate:.1f} tok/s")
    if message.state != "done":
        parts.append(message.state)
    return " · ".join(parts)


async def _export(output: Output, chat: str, form: "ExportForm", to: Path | None) -> int:
    from lmx_daemon.contract.errors import LmxError
    from lmx_daemon.storage.failed_write import remedy

    async with _client() as client:
        exported = await client.export_chat(await client.find_chat(chat), form)
    if to is None:
        output.content(exported.text)
        return ExitCode.OK
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(exported.text)
    except FileExistsError:
        raise LmxError(f"{to} exists already", hint="name another file, or remove that one first") from None
    except OSError as error:
        raise LmxError(
            f"{to} cannot be written: {error.strerror or error}", hint=remedy(to.absolute(), error)
        ) from error
    output.note(f"written to {to}")
    return ExitCode.OK


async def _import(output: Output, paths: list[Path], json: bool) -> int:
    from lmx_cli.chat_files import chats_in
    from lmx_daemon.contract.admin.chat_import import ChatImport, ChatsImported

    chats, faults = chats_in(paths)
    for fault in faults:
        output.error(fault)
    rows: list[ChatRow] = []
    present = 0
    async with _client() as client:
        for chat in chats:  # one by one, so that no body exceeds the limit of the admin socket
            found: ChatsImported = await client.import_chats(ChatImport(chats=(chat,)))
            rows, present = [*rows, *found.rows], present + found.present
    if json:
        output.json(ChatsImported(rows=tuple(rows), present=present))
    else:
        output.text(f"imported {len(rows)} chats" + (f"; {present} were there already" if present else ""))
    return ExitCode.ERROR if faults else ExitCode.OK


async def _remove(output: Output, chat: str, json: bool) -> int:
    async with _client() as client:
        row = await client.delete_chat(await client.find_chat(chat))
    if json:
        output.json(row)
    else:
        output.text(f"moved to the trash: {row.name}")
        output.note(f"lmx chats restore {row.id} brings it back")
    return ExitCode.OK


async def _restore(output: Output, chat: str, json: bool) -> int:
    async with _client() as client:
        row = await client.restore_chat(await client.find_chat(chat))
    if json:
        output.json(row)
    else:
        output.text(f"restored: {row.name}")
    return ExitCode.OK


async def _remove_messages(output: Output, chat: str, message: str, json: bool) -> int:
    async with _client() as client:
        identity = await client.find_chat(chat)
        removal = await client.remove_messages(identity, message)
    if json:
        output.json(removal)
    else:
        output.text(f"moved to the trash: {counted(len(removal.messages), 'message')}")
        output.note(f"lmx chats restore {identity} --messages brings them back")
    return ExitCode.OK


async def _restore_messages(output: Output, chat: str, json: bool) -> int:
    async with _client() as client:
        removal = await client.restore_messages(await client.find_chat(chat))
    if json:
        output.json(removal)
    else:
        output.text(f"restored: {counted(len(removal.messages), 'message')}")
    return ExitCode.OK


async def _empty(output: Output, yes: bool, json: bool) -> int:
    async with _client() as client:
        if not output.confirm("remove the deleted chats for good?", yes=yes):
            return ExitCode.ERROR
        count = await client.empty_chat_trash()
    if json:
        output.json({"removed": count})
    else:
        output.text(f"removed {count} chats")
    return ExitCode.OK
