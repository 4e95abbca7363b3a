"""The commands of other programs, ollama and lms, as those of lmx. Pure."""

from collections.abc import Mapping, Sequence

VERBS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("get",): ("pull",),
    ("import", "chats"): ("chats", "import"),
    ("import", "presets"): ("preset", "import"),
    ("list",): ("ls",),
    ("models",): ("ls",),
    ("run",): ("chat",),
    ("server", "start"): ("serve", "--detach"),
    ("server", "stop"): ("stop",),
    ("server", "status"): ("status",),
}
"""First words of a command line, as another program has them -> those of lmx."""
SERVER = "server"
HELP = "help"


def translated(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the commands of lmx. Options before the command stay where they are."""
    start = next((place for place, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    options, words = list(arguments[:start]), list(arguments[start:])
    if words[:1] == [HELP]:
        return [*options, *translated(words[1:]), "--help"]
    for theirs, ours in VERBS.items():
        if tuple(words[: len(theirs)]) == theirs:
            return [*options, *ours, *words[len(theirs) :]]
    return [*options, *words]


def hint_for(words: Sequence[str]) -> str | None:
    """Return what to use instead of a command line that lmx refuses; None if no other program has it."""
    if words[:1] == [SERVER]:
        return "use: lmx server start, lmx server stop or lmx server status"
    if words[:1] == ["stop"] and len(words) > 1:
        return f"lmx stop ends the daemon; to unload a model: lmx unload {words[1]}"
    return None
