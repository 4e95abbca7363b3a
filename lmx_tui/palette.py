"""The commands of the palette (ctrl+p), made from the current View. Each command posts a message."""

from collections.abc import Callable, Iterator

from textual.app import App, SystemCommand
from textual.message import Message

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line
from lmx_tui.keymap import verbs_of
from lmx_tui.keys import SCREENS
from lmx_tui.messages import (
    ChatRequested,
    LoadSheetRequested,
    LookForNewerRequested,
    PullChangeRequested,
    StartRequested,
    ThinkingRequested,
    UnloadRequested,
    UpdateRequested,
    View,
)
from lmx_tui.widgets.models.model_rows import instances_of

THINKING = (
    (True, "Thinking on", "models think before they answer"),
    (False, "Thinking off", "models answer at once"),
    (None, "Thinking by default", "each model's own default"),
)


RunVerb = Callable[[str, str], object]
"""Function that shows a screen and runs an action of it."""


def commands(app: App[None], view: View, run: RunVerb, possible: Callable[[str, str], bool]) -> Iterator[SystemCommand]:
    """Yield the commands that are possible now. `possible` returns whether a screen would run an action."""

    def post(message: Message) -> None:
        app.post_message(message)

    for mode in SCREENS.values():
        title = mode.capitalize()
        go = f"switch('{mode}')"
        words = f"show the {title} screen"
        yield SystemCommand(f"Go to {title}", words, lambda go=go: app.call_next(app.run_action, go))
        yield from _verbs(app, mode, run, possible)
    yield SystemCommand("Theme", "choose the colours", lambda: app.call_next(app.run_action, "pick_theme"))
    yield SystemCommand("Keys", "keys of this screen", lambda: app.call_next(app.run_action, "help"))
    yield SystemCommand("Quit", "leave; the daemon goes on", app.exit)
    if not view.online:
        yield SystemCommand("Start the daemon", "lmx serve --detach", lambda: post(StartRequested()))
    if view.snapshot is None:
        return
    if any(model.thinking for model in view.snapshot.models):
        for thinking, title, words in THINKING:
            request = ThinkingRequested(thinking)
            yield SystemCommand(title, words, lambda message=request: post(message))
    instances = instances_of(view.snapshot)
    for model in view.snapshot.models:
        name = one_line(model.id)
        if model.problem is None:
            yield SystemCommand(f"Chat with {name}", "lmx chat", lambda id=model.id: post(ChatRequested(id)))
        if model.problem is None and model.id not in instances:
            load = LoadSheetRequested(model)
            yield SystemCommand(f"Load {name}", "lmx load", lambda message=load: post(message))
        if model.newer:
            words = f"lmx update, {size(model.size or None)} at most"
            yield SystemCommand(f"Update {name}", words, lambda id=model.id: post(UpdateRequested(id)))
    for instance in view.snapshot.instances:
        unload = UnloadRequested(instance.id, instance.model)
        name = one_line(instance.model)
        yield SystemCommand(f"Unload {name}", "lmx unload", lambda message=unload: post(message))
    if any(model.source == "hub" for model in view.snapshot.models):
        yield SystemCommand("Look for newer versions", "lmx outdated", lambda: post(LookForNewerRequested()))
    for download in view.snapshot.downloads:
        for title, words, wanted in pull_commands(download):
            yield SystemCommand(title, words, lambda message=wanted: post(message))


def _verbs(app: App[None], mode: str, run: RunVerb, possible: Callable[[str, str], bool]) -> Iterator[SystemCommand]:
    """Yield the actions of one screen's keys."""
    for binding in verbs_of(mode):
        action = binding.action.removeprefix("screen.")
        if possible(mode, action):
            words = f"{app.get_key_display(binding)}: {binding.tooltip or binding.description}"
            title = f"{mode.capitalize()}: {binding.description}"
            yield SystemCommand(title, words, lambda mode=mode, action=action: run(mode, action))


def pull_commands(download: Download) -> Iterator[tuple[str, str, Message]]:
    """Yield (title, help, message) of each command for a pull.

    The palette lists titles in alphabetical order, so that no command that deletes files is the first.
    """
    name = f"Download of {one_line(download.repo)}"
    if download.state not in DOWNLOAD_ENDS:
        yield f"{name}: pause", "lmx downloads pause", PullChangeRequested("pause", download.id)
    if download.state in ("paused", "failed"):
        yield (
            f"{name}: resume",
            "lmx downloads resume; continues where it stopped",
            PullChangeRequested("resume", download.id),
        )
    if download.state not in ("done", "cancelled"):
        yield (
            f"{name}: cancel",
            "lmx downloads cancel; the fetched data is deleted",
            PullChangeRequested("cancel", download.id),
        )
