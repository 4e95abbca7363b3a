"""PlainShell: `lmx tui --plain`, a session of lines for screen readers: each line is a command of `lmx`.

It moves no cursor, draws no bar and uses no colour. The commands themselves write the output.
"""

import os
import shlex
import sys
from collections.abc import Callable

from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import UsageError

PROMPT = "lmx: "
QUIT = frozenset({"quit", "exit", "q"})
LEFT_OUT = frozenset({"tui", "demo"})
"""Commands that would draw on the whole screen."""
NAMES = {"loaded": ["ps"], "downloads": ["downloads", "list"], "logs": ["logs", "--tail", "20"]}
"""A line of one word -> the command that it stands for."""
HELP = (
    "models: list the models on this machine",
    "loaded: list the models in memory",
    "load MODEL, unload MODEL: put a model into memory, or take it out",
    "search WORDS: search the Hub",
    "pull REPO: download a model, with a line of progress every two seconds",
    "downloads: list the downloads",
    "chat, or chat MODEL: talk to a model; /exit or Ctrl-D comes back here",
    "status: show the state of the daemon",
    "requests: list the last requests",
    "logs: show the last 20 lines of the log",
    "help COMMAND: explain a command; every other command of lmx works here too",
    "quit: leave; the daemon goes on",
)

CommandRunner = Callable[[list[str], Output], int]
"""Function that runs a command line and returns its exit code. It reports errors itself."""


def use_plain_terminal() -> None:
    """Make this process, and the programs that it starts, treat the terminal as one without colours and cursor."""
    os.environ["TERM"] = "dumb"
    os.environ["NO_COLOR"] = "1"


class PlainShell:
    """A session. `run` runs one command line, and `read` returns the next line, "" at the end of the input."""

    def __init__(self, output: Output, run: CommandRunner, read: Callable[[], str] = sys.stdin.readline) -> None:
        self._output, self._run, self._read = output, run, read

    def loop(self) -> int:
        """Run the lines of the input until it ends or the user leaves."""
        self._output.text("lmx, plain session. Type a command and press enter. help lists the commands, quit leaves.")
        while True:
            try:
                words = self._next()
            except KeyboardInterrupt:
                self._output.text("", "quit leaves")
                continue
            except UsageError as error:
                self._output.error(error)
                continue
            if words is None or (words[:1] and words[0] in QUIT):
                return ExitCode.OK
            if words:
                self._do(words)

    def _next(self) -> list[str] | None:
        """Return the words of the next line; None at the end. Raise UsageError for an open quotation."""
        self._output.content(PROMPT)
        line = self._read()
        if not line:
            self._output.text()
            return None
        try:
            return shlex.split(line)
        except ValueError as error:
            raise UsageError(f"the line cannot be read: {error}", hint="close the quotation mark") from None

    def _do(self, words: list[str]) -> None:
        if words == ["help"]:
            self._output.text(*HELP)
            return
        if words[0] in LEFT_OUT:
            self._output.error(UsageError(f"{words[0]} draws on the screen", hint="help lists what works here"))
            return
        code = self._run(NAMES.get(words[0], words) if len(words) == 1 else words, self._output)
        if code == ExitCode.INTERRUPTED:
            self._output.text("stopped")
