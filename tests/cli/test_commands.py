"""The help of every command."""

from collections.abc import Iterator
from typing import Any

from lmx_cli.commands import build
from lmx_cli.output import Output


def helps(command: Any) -> Iterator[str]:
    yield from (item.help for item in (command, *command.params) if getattr(item, "help", None))
    for subcommand in getattr(command, "commands", {}).values():
        yield from helps(subcommand)


def test_help_texts_end_without_a_period() -> None:
    found = list(helps(build(Output())))
    assert len(found) > 100
    assert not [text for text in found if text.endswith(".") and not text.endswith("..")]
