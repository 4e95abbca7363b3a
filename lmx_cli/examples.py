"""Examples of each command: lines that can be typed. `lmx help COMMAND` and docs/cli.md show them."""

from collections.abc import Iterable, Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "lmx": ("lmx demo", "lmx pull mlx-community/Qwen3-0.6B-4bit", 'lmx chat qwen3 -p "What is a KV cache?"'),
    # Daemon
    "serve": ("lmx serve", "lmx serve --detach --model qwen3"),
    "stop": ("lmx stop",),
    "restart": ("lmx restart",),
    "status": ("lmx status", "lmx --host https://box:1234 status"),
    "service install": ("lmx service install",),
    "service uninstall": ("lmx service uninstall",),
    "service status": ("lmx service status",),
    "service logs": ("lmx service logs --tail 20",),
    "logs": ("lmx logs -f --level warning", "lmx logs --model qwen3 --json"),
    "doctor": ("lmx doctor", "lmx doctor --engine", "lmx doctor --report report.md"),
    "self update": ("lmx self update --dry-run",),
    "self uninstall": ("lmx self uninstall --dry-run",),
    # Chat and agents
    "tui": ("lmx tui", "lmx tui --demo", "lmx tui --plain"),
    "chat": ("lmx chat qwen3", 'lmx chat qwen3 -p "one question"', "git diff | lmx chat qwen3 -p review"),
    "chats": (
        "lmx chats import ~/.lmstudio/conversations",
        "lmx chats search blowhole",
        "lmx chats export c12ab34 --to chat.md",
    ),
    "chats list": ("lmx chats list --tag work",),
    "chats search": ("lmx chats search blowhole",),
    "chats show": ("lmx chats show c12ab34",),
    "chats export": ("lmx chats export c12ab34 --to chat.md",),
    "chats import": ("lmx chats import ~/.lmstudio/conversations",),
    "chats rm": ("lmx chats rm c12ab34",),
    "chats restore": ("lmx chats restore c12ab34",),
    "chats empty-trash": ("lmx chats empty-trash",),
    "demo": ("lmx demo", 'lmx demo "How do I pin a model?"'),
    "launch": ("lmx launch", "lmx launch claude", "lmx launch opencode --dry-run", "lmx launch opencode --restore"),
    # Models in memory
    "ps": ("lmx ps",),
    "load": ("lmx load qwen3", "lmx load qwen3 --context 32768 --parallel 4 --pin", "lmx load qwen3 --estimate"),
    "unload": ("lmx unload qwen3", "lmx unload --all"),
    # Models on disk
    "ls": ("lmx ls qwen", "lmx ls --can tools --sort size"),
    "show": ("lmx show qwen3", "lmx show qwen3 --template"),
    "import": ("lmx import ~/models/my-model", "lmx import ~/models/my-model --as me/my-model --link"),
    "verify": ("lmx verify qwen3 --repair", "lmx verify --all"),
    "trust": ("lmx trust", "lmx trust org/model@0123abc", "lmx trust org/model --withdraw"),
    "rm": ("lmx rm qwen3", "lmx rm --undo"),
    "du": ("lmx du",),
    "prune": ("lmx prune --dry-run", "lmx prune"),
    "move": ("lmx move /Volumes/Models/hub --dry-run", "lmx move ~/models"),
    "cache ls": ("lmx cache ls",),
    "cache clear": ("lmx cache clear org/model", "lmx cache clear --yes"),
    # Downloads
    "search": ("lmx search qwen3 coder --fits", "lmx search --tools --sort downloads --limit 5"),
    "recommend": ("lmx recommend", "lmx recommend --context 32768"),
    "pull": ("lmx pull mlx-community/Qwen3-0.6B-4bit", "lmx pull org/model@v1 --detach"),
    "downloads": ("lmx downloads", "lmx downloads move qwen3 1", "lmx downloads limit 20MB"),
    "downloads list": ("lmx downloads list --json",),
    "downloads pause": ("lmx downloads pause qwen3",),
    "downloads resume": ("lmx downloads resume qwen3",),
    "downloads retry": ("lmx downloads retry qwen3",),
    "downloads move": ("lmx downloads move qwen3 1",),
    "downloads cancel": ("lmx downloads cancel qwen3",),
    "downloads clear": ("lmx downloads clear",),
    "downloads limit": ("lmx downloads limit", "lmx downloads limit 20MB"),
    "outdated": ("lmx outdated",),
    "update": ("lmx update qwen3", "lmx update --all --yes"),
    "login": ("lmx login",),
    "logout": ("lmx logout",),
    # Settings
    "config": ("lmx config list", "lmx config set server.port 8080", "lmx config edit"),
    "config list": ("lmx config list --changed", "lmx config list server"),
    "config get": ("lmx config get server.port",),
    "config set": ("lmx config set server.port 8080", "lmx config set models.org/model.ttl 600"),
    "config unset": ("lmx config unset server.port",),
    "config path": ("lmx config path",),
    "config edit": ("lmx config edit",),
    "config reload": ("lmx config reload",),
    "alias list": ("lmx alias list",),
    "alias set": ("lmx alias set code org/big org/small", "lmx alias set 'gpt-*' code"),
    "alias rm": ("lmx alias rm code",),
    "preset list": ("lmx preset list",),
    "preset show": ("lmx preset show brief",),
    "preset set": ('lmx preset set brief system="Be brief." max_tokens=200', "lmx preset set brief system=@prompt.txt"),
    "preset rm": ("lmx preset rm brief",),
    "preset import": ("lmx preset import", "lmx preset import brief.preset.json --as short"),
    "key create": ("lmx key create editor", "lmx key create ci --scope infer --expires 30d"),
    "key list": ("lmx key list",),
    "key revoke": ("lmx key revoke 1a2b3c4d",),
    "completion": ("lmx completion --install", "lmx completion zsh"),
    # Measurements
    "requests": ("lmx requests", "lmx requests --live", "lmx requests --outcome failed --days 1"),
    "requests show": ("lmx requests show 1a2b3c4d",),
    "requests replay": ("lmx requests replay 1a2b3c4d --model qwen3",),
    "requests export": ("lmx requests export 1a2b3c4d > request.md",),
    "requests totals": ("lmx requests totals --by model --days 7",),
    "requests clear": ("lmx requests clear",),
    "bench": ("lmx bench --model qwen3", "lmx bench --vs http://127.0.0.1:8080 --run sweep"),
    "bench list": ("lmx bench list",),
    "bench compare": ("lmx bench compare", "lmx bench compare 20260401 last"),
    "bench show": ("lmx bench show last --plot",),
    # Other
    "version": ("lmx version",),
}
"""Command -> its examples. A group without an entry has those of its commands."""


def examples_of(name: str, subnames: Iterable[str] = ()) -> list[str]:
    """Return the examples of a command; for a group without its own, the first one of each of its commands."""
    if name in EXAMPLES:
        return list(EXAMPLES[name])
    return [EXAMPLES[each][0] for subname in subnames if (each := f"{name} {subname}") in EXAMPLES]
