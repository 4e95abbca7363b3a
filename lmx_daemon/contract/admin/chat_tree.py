"""The tree of a chat's messages: its paths and branches. Pure."""

from lmx_daemon.contract.admin.chats import StoredMessage


def path_to(messages: tuple[StoredMessage, ...], leaf: str | None) -> list[StoredMessage]:
    """Return the messages from the root to `leaf`. A missing parent ends the path."""
    known = {message.id: message for message in messages}
    path: list[StoredMessage] = []
    at = known.get(leaf or "")
    while at is not None and len(path) <= len(known):
        path.append(at)
        at = known.get(at.parent or "")
    return path[::-1]


def siblings_of(messages: tuple[StoredMessage, ...], message: StoredMessage) -> list[StoredMessage]:
    """Return the branches at a message: all messages with its parent and role, oldest first, itself included."""
    return [found for found in messages if found.parent == message.parent and found.role == message.role]


def newest_below(messages: tuple[StoredMessage, ...], message: str) -> str:
    """Return the id of the last message of the newest branch below a message; its own id if nothing is below it."""
    last_child: dict[str, str] = {}
    for found in messages:
        if found.parent is not None:
            last_child[found.parent] = found.id
    at, steps = message, 0
    while at in last_child and steps <= len(messages):
        at, steps = last_child[at], steps + 1
    return at


def below(messages: tuple[StoredMessage, ...], message: str) -> list[StoredMessage]:
    """Return a message and all that follows it in all branches, a parent before its children; [] if it is unknown."""
    children: dict[str | None, list[StoredMessage]] = {}
    for found in messages:
        children.setdefault(found.parent, []).append(found)
    result = [found for found in messages if found.id == message]
    for found in result:
        result += children.pop(found.id, [])
    return result
