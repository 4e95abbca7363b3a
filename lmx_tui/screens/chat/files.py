"""ChatFiles: files of the next message, the export of a chat, and the message in an editor."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual import on
from textual.app import SuspendNotSupported

from lmx_daemon.contract.admin.chats import ChatExport
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.storage.durable import write_file
from lmx_tui.formatting import clean
from lmx_tui.messages import Notified
from lmx_tui.screens.chat.editor import edited_text
from lmx_tui.screens.chat.file_picker import FilePicker
from lmx_tui.screens.chat.listing import ChatListing
from lmx_tui.screens.chat.reading import named_file, read_attachment
from lmx_tui.screens.dialogs.questions import Confirm
from lmx_tui.widgets.chat.prompt import PromptInput


class ChatFiles(ChatListing):
    """A page that reads and writes files of the user."""

    def action_pick_file(self) -> None:
        """Offer the files below the working folder."""
        self.app.push_screen(FilePicker(_working_folder()), lambda path: self.attach_path(path) if path else None)

    @on(PromptInput.FileWanted)
    def _file_wanted(self) -> None:
        """Offer files. Without a choice, insert the `@` into the text."""

        def chosen(path: str | None) -> None:
            if path:
                self.attach_path(path)
            else:
                self.query_one(PromptInput).insert("@")

        self.app.push_screen(FilePicker(_working_folder()), chosen)

    @on(PromptInput.Emptied)
    def _emptied(self) -> None:
        if self._files:
            self.detach()

    @on(PromptInput.Pasted)
    def _pasted(self, event: PromptInput.Pasted) -> None:
        """Attach a pasted path of a file; any other text is inserted."""
        path = named_file(event.text)
        if path is None:
            self.query_one(PromptInput).insert(event.text)
        else:
            self.attach_path(str(path))

    def attach_path(self, text: str) -> None:
        """Read a file and add it to the next message."""
        self.run_worker(self._read_file(text), group="attach", exit_on_error=False)

    async def _read_file(self, text: str) -> None:
        try:
            self.attach(await asyncio.to_thread(read_attachment, _path(text)))
        except LmxError as error:
            self.post_message(Notified(error.message, error.hint, "warning"))

    # ---- export ----

    def action_export(self) -> None:
        self.export("")

    def export(self, path: str) -> None:
        """Write the chat to a file: as JSON for a name that ends with .json, else as Markdown."""
        identity = self._chat.id
        if not identity:
            self.post_message(Notified("there is no chat yet"))
            return
        form = "json" if path.endswith(".json") else "markdown"

        async def exported(chat: ChatExport) -> None:
            file = _path(path) if path else _working_folder() / chat.name
            await self._write_export(file.absolute(), chat.text)

        self._call("export", lambda client: client.export_chat(identity, form), exported)

    async def _write_export(self, file: Path, text: str, *, replace: bool = False) -> None:
        """Write the file. An existing one is replaced after a confirmation."""
        write: Callable[[], object] = partial(_create, file, text)
        if replace:
            write = partial(write_file, file, text.encode())

        async def confirmed(yes: bool | None) -> None:
            if yes:
                await self._write_export(file, text, replace=True)

        try:
            written = await asyncio.to_thread(write)
        except OSError as error:
            self.post_message(Notified(f"{file} cannot be written: {error.strerror or error}", None, "error"))
            return
        if written is False:
            detail = f"{file}\nexists already. /export NAME writes another file."
            self.app.push_screen(Confirm("Replace this file?", detail, "Replace", "R"), confirmed)
        else:
            self.post_message(Notified(f"written to {file}"))

    # ---- the editor ----

    def action_editor(self) -> None:
        """Open the text of the prompt in $VISUAL or $EDITOR. If the editor fails, the prompt keeps its text."""
        prompt = self.query_one(PromptInput)
        try:
            text = edited_text(prompt.text, os.environ, self.app.suspend)
        except SuspendNotSupported:
            self.post_message(Notified("no editor can run in this terminal", "the text stays in the prompt", "warning"))
            return
        except LmxError as error:
            self.post_message(Notified(error.message, error.hint, "warning"))
            return
        prompt.text = clean(text)
        prompt.move_cursor(prompt.document.end)
        prompt.focus()


def _create(file: Path, text: str) -> bool:
    """Create a file. Return whether it did not exist before; an existing one stays. Raise OSError."""
    try:
        with file.open("x", encoding="utf-8") as created:
            created.write(text)
    except FileExistsError:
        return False
    return True


def _path(text: str) -> Path:
    """Return the path that a user has typed, which may begin with `~`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # an unknown user
        return Path(text)


def _working_folder() -> Path:
    """Return the working folder; if that was deleted, the user's home folder."""
    try:
        return Path.cwd()
    except OSError:
        return Path.home()
