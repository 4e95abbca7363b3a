"""ChatFiles: files of the next message, the export of a chat, and the message in an editor."""

import asyncio
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from textual import on

from lmx_daemon.contract.admin.chats import ChatExport
from lmx_daemon.contract.errors import LmxError
from lmx_tui.messages import Notified
from lmx_tui.screens.chat.file_picker import FilePicker
from lmx_tui.screens.chat.listing import ChatListing
from lmx_tui.screens.chat.reading import named_file, read_attachment
from lmx_tui.widgets.chat.prompt import PromptInput


class ChatFiles(ChatListing):
    """A page that reads and writes files of the user."""

    def action_pick_file(self) -> None:
        """Offer the files below the working folder."""
        self.app.push_screen(FilePicker(Path.cwd()), lambda path: self.attach_path(path) if path else None)

    @on(PromptInput.FileWanted)
    def _file_wanted(self) -> None:
        """Offer files; without a choice, the sign stays in the text."""

        def chosen(path: str | None) -> None:
            if path:
                self.attach_path(path)
            else:
                self.query_one(PromptInput).insert("@")

        self.app.push_screen(FilePicker(Path.cwd()), chosen)

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
            self.attach(await asyncio.to_thread(read_attachment, Path(text).expanduser()))
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

        async def written(exported: ChatExport) -> None:
            file = Path(path).expanduser() if path else Path.cwd() / exported.name
            self.post_message(await asyncio.to_thread(_written, file, exported.text))

        self._call("export", lambda client: client.export_chat(identity, form), written)

    # ---- the editor ----

    async def action_editor(self) -> None:
        """Open the text of the prompt in $VISUAL or $EDITOR."""
        prompt = self.query_one(PromptInput)
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        with tempfile.NamedTemporaryFile("w+", suffix=".md", encoding="utf-8", errors="replace") as file:
            file.write(prompt.text)
            file.flush()
            try:
                with self.app.suspend():
                    subprocess.run([*command, file.name], check=True)
            except (OSError, subprocess.SubprocessError) as error:
                self.post_message(Notified(f"{command[0]} failed: {error}", "set $EDITOR", "warning"))
                return
            text = Path(file.name).read_text(encoding="utf-8", errors="replace")
        prompt.text = text.rstrip("\n")
        prompt.move_cursor(prompt.document.end)
        prompt.focus()


def _written(file: Path, text: str) -> Notified:
    """Create the file, and return the notice of it. An existing file stays."""
    try:
        with file.open("x", encoding="utf-8") as created:
            created.write(text)
    except FileExistsError:
        return Notified(f"{file} exists already", "/export NAME writes another file", "warning")
    except OSError as error:
        return Notified(f"{file} cannot be written: {error.strerror or error}", None, "error")
    return Notified(f"written to {file}")
