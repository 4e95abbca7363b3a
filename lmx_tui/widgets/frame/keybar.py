"""KeyBar: the last row, with as many of the current keys as fit. Help is always among them."""

from rich.style import Style
from rich.text import Text
from textual import events
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

HELP = "help"


class KeyBar(Widget):
    """A row of keys that can be clicked."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, int, str, DOMNode]] = []
        """(first cell, end cell, action, node that the action belongs to) of each key."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        self.refresh()

    def _shown(self) -> list[tuple[str, str, str, DOMNode]]:
        """Return (key, description, action, node) of each visible binding, each action once."""
        found: dict[str, tuple[str, str, str, DOMNode]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in found:
                key = self.app.get_key_display(binding)
                found[binding.action] = (key, binding.description, binding.action, active.node)
        help_key = found.pop(HELP, None)
        return [*found.values(), *([help_key] if help_key else [])]

    def render(self) -> Text:
        key_style = Style.parse(f"bold {self.app.theme_variables['accent']}")
        shown = self._shown()
        width = self.size.width
        while len(shown) > 1 and sum(len(key) + len(what) + 3 for key, what, *_ in shown) > width + 1:
            del shown[-2]
        text = Text(no_wrap=True, overflow="crop", end="")
        self._places = []
        for key, what, action, node in shown:
            start = len(text)
            text.append(f" {key}", key_style).append(f" {what} ")
            self._places.append((start, len(text), action, node))
        return text

    async def on_click(self, event: events.Click) -> None:
        for start, end, action, node in self._places:
            if start <= event.x < end:
                await self.app.run_action(action, node)
