"""ChatCommands: the commands of the prompt, which begin with a slash."""

from collections.abc import Callable

from lmx_tui.messages import Notified
from lmx_tui.screens.chat.comparing import ChatComparing
from lmx_tui.widgets.chat.commands import COMMANDS, command_of


class ChatCommands(ChatComparing):
    """A page whose prompt runs commands."""

    async def run_command(self, text: str) -> bool:
        """Run a command that begins with a slash. Return whether the text was one; `//` sends a slash."""
        found = command_of(text)
        if found is None:
            return False
        name, rest = found
        if name not in COMMANDS:
            self.post_message(Notified(f"there is no command /{name}", f"there are: {' '.join(COMMANDS)}", "warning"))
            return True
        self._clear_prompt()
        if action := COMMANDS[name][1]:
            await self.run_action(action)
        else:
            self._with_text()[name](rest)
        return True

    def _with_text(self) -> dict[str, Callable[[str], None]]:
        """Return the functions of the commands that read the text after them."""
        return {
            "model": self._choose_model,
            "compare": self._compare,
            "system": self._set_system,
            "title": self._set_title,
            "file": self._attach_file,
            "image": self._attach_file,
            "export": self.export,
            "save": self.export,
        }

    def _only_model(self, name: str) -> str | None:
        """Return the id of the only model whose id contains `name`; None for an empty name."""
        found = [model.id for model in (self.snapshot.models if self.snapshot else ()) if name in model.id]
        return found[0] if name and len(found) == 1 else None

    def _choose_model(self, name: str) -> None:
        model = self._only_model(name)
        if model is not None:
            self.choose(model)
        else:
            self.action_pick_model()

    def _compare(self, name: str) -> None:
        model = "" if name == "-" else self._only_model(name)
        self.compare_with(model or "")
        if model is None:
            self.action_compare()

    def _set_system(self, words: str) -> None:
        if words:
            self._settings_changed(system=None if words == "-" else words)
        else:
            self.action_parameters()

    def _set_title(self, words: str) -> None:
        if words and self._chat.id:
            self._change(title=words)
        else:
            self.action_rename()

    def _attach_file(self, path: str) -> None:
        if path:
            self.attach_path(path)
        else:
            self.action_pick_file()

    def choose(self, model: str | None) -> None:
        raise NotImplementedError
