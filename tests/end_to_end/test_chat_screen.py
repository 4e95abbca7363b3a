"""The Chat screen of `lmx tui` in a terminal, against a real daemon and the built-in model."""

import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.end_to_end.running import LMX, Daemon
from tests.pty_harness import Terminal

F3, F10, CTRL_L, CTRL_Q, CTRL_R = b"\x1bOR", b"\x1b[21~", b"\x0c", b"\x11", b"\x12"
SECONDS = 60.0
END = re.compile(r"lmx/guide · \d+ tok · ")
"""Beginning of the line of figures below an answer that has ended."""


def rows(daemon: Daemon) -> list[tuple[Any, ...]]:
    """Return state, role and text of the messages on the disk."""
    database = sqlite3.connect(f"file:{daemon.home}/chats/chats.db?mode=ro", uri=True)
    try:
        return database.execute("SELECT state, text FROM messages ORDER BY number").fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        database.close()


def until_stored(
    daemon: Daemon, true: Callable[[list[tuple[Any, ...]]], object], terminal: Terminal | None = None
) -> None:
    """Wait for messages on the disk. A terminal is read meanwhile: a full buffer would stop the program in it."""
    deadline = time.monotonic() + SECONDS
    while not ((daemon.home / "chats" / "chats.db").exists() and true(rows(daemon))):
        assert time.monotonic() < deadline, rows(daemon)
        if terminal is not None:
            terminal.read(0.1)
        else:
            time.sleep(0.1)


def ended(count: int) -> Callable[[list[tuple[Any, ...]]], bool]:
    return lambda found: len(found) == count and all(state == "done" and text for state, text in found)


def test_chat_is_asked_branched_found_again_and_outlives_its_terminal(own_daemon: Daemon) -> None:
    own_daemon.start()
    command = [*LMX, "tui"]
    with Terminal(command, size=(120, 40), environment=own_daemon.env()) as terminal:
        terminal.until(lambda text: "Models" in text, SECONDS)
        terminal.type(F3)
        terminal.until(lambda text: "Ask anything" in text, SECONDS)
        terminal.type(b"how do I pull a model?\r")
        until_stored(own_daemon, ended(2), terminal)
        terminal.until(lambda text: END.search(text), SECONDS)  # a prompt is refused until the screen, too, has the end
        terminal.type(CTRL_R)
        until_stored(own_daemon, ended(3), terminal)
        terminal.until(lambda text: END.search(text.partition("[2/2]")[2]), SECONDS)
        terminal.type(b"and how do I remove one?\r")
        until_stored(own_daemon, lambda found: len(found) == 5, terminal)
        terminal.hang_up()
    until_stored(own_daemon, ended(5))
    with Terminal(command, size=(80, 24), environment=own_daemon.env()) as terminal:
        terminal.until(lambda text: "lmx rm" in text or "remove one" in text, SECONDS)
        terminal.type(CTRL_L)
        terminal.until(lambda text: "earch all chats" in text, SECONDS)  # the cursor is on the first letter
        terminal.type(b"remove")
        terminal.until(lambda text: "1 found" in text, SECONDS)
        terminal.type(b"\r")
        terminal.type(CTRL_Q)
        assert terminal.wait(SECONDS) == 0


def test_editor_has_the_terminal_and_returns_the_text(own_daemon: Daemon, tmp_path: Path) -> None:
    own_daemon.start()
    editor = tmp_path / "editor"
    script = (
        'printf "the editor runs"; read line; printf "%s from the editor" "$(cat "$1")" > "$1.new"; mv "$1.new" "$1"'
    )
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o700)
    environment = own_daemon.env() | {"VISUAL": str(editor)}
    with Terminal([*LMX, "tui"], size=(120, 40), environment=environment) as terminal:
        terminal.until(lambda text: "Models" in text, SECONDS)
        terminal.type(F3)
        terminal.until(lambda text: "Ask anything" in text, SECONDS)
        terminal.type(b"words")
        terminal.type(F10)
        terminal.until(lambda text: "the editor runs" in text, SECONDS)
        terminal.type(b"\r")
        terminal.until(lambda text: "words from the editor" in text, SECONDS)
        terminal.type(CTRL_Q)
        assert terminal.wait(SECONDS) == 0
