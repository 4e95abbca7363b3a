"""The commands of the prompt, which begin with a slash. Pure."""

COMMANDS: dict[str, tuple[str, str]] = {
    "model": ("choose the model that answers", ""),
    "compare": ("ask a second model, too; - ends it", ""),
    "system": ("set the system prompt; - removes it", ""),
    "params": ("model, system prompt and sampling", "screen.parameters"),
    "file": ("attach a file", ""),
    "image": ("attach an image", ""),
    "new": ("begin a new chat", "screen.new"),
    "clear": ("begin a new chat", "screen.new"),
    "title": ("name this chat", ""),
    "tags": ("set the tags of this chat", "screen.tags"),
    "pin": ("pin this chat, or unpin it", "screen.pin"),
    "export": ("write this chat to a file, .md or .json", ""),
    "save": ("write this chat to a file", ""),
    "copy": ("copy this chat as Markdown", "screen.copy_chat"),
    "fork": ("copy this branch to a new chat", "screen.fork"),
    "continue": ("continue the last answer", "screen.continue"),
    "editor": ("write the message in $EDITOR", "screen.editor"),
    "delete": ("delete this chat", "screen.delete_chat"),
    "chats": ("search all chats", "screen.list"),
    "help": ("show all keys", "app.help"),
}
"""Name -> what it does, and the action that it runs; "" for a command that reads the text after it."""
SHOWN = 5


def command_of(text: str) -> tuple[str, str] | None:
    """Return the name of a command and the text after it; None for a text that is not a command.

    A path such as "/etc/hosts" and a text of several lines are not commands.
    """
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, _, rest = text[1:].partition(" ")
    if not name or not name.isalpha() or "\n" in name:
        return None
    return name.lower(), rest.strip()


def suggestions(text: str) -> str:
    """Return the commands that a begun one can become, as a line; "" if there are none."""
    if not text.startswith("/") or " " in text or "\n" in text:
        return ""
    found = [name for name in COMMANDS if name.startswith(text[1:].lower())]
    words = [f"/{name} {COMMANDS[name][0]}" if len(found) <= SHOWN else f"/{name}" for name in found]
    return "  ·  ".join(words) if len(found) <= SHOWN else "  ".join(words)


def completed(text: str) -> str:
    """Return a begun command completed as far as it is unique."""
    found = [name for name in COMMANDS if name.startswith(text[1:].lower())]
    return f"/{found[0]} " if text.startswith("/") and " " not in text and found else text
