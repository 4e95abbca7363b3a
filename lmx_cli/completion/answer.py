"""The answer to a shell: one line for each candidate, with its description after a tab."""

import os
import shlex
from functools import partial

from lmx_cli.completion.words import candidates
from lmx_cli.output import Output, one_line

QUOTES = str.maketrans("", "", "\"'")


def split(line: str) -> tuple[list[str], str]:
    """Return the words between the program and the last word, and the last word, which may be empty."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.translate(QUOTES).split()
    last = "" if not words or line[-1:].isspace() else words.pop()
    return words[1:], last


def answer(output: Output, line: str) -> None:
    """Write the candidates for the last word of a line. Write none if an error occurs."""
    from lmx_cli.commands import build
    from lmx_cli.completion.names import names_of
    from lmx_daemon.contract.errors import LmxError
    from lmx_daemon.settings.paths import Home

    words, last = split(line)
    try:
        names = partial(names_of, Home.from_environment(), os.environ)
    except LmxError:
        return
    found = candidates(build(output), words, last, names)
    for word, text in found:
        output.content(f"{one_line(word)}\t{one_line(text)}\n" if text else f"{one_line(word)}\n")
