"""`lmx`: builds the command tree, and turns every error into a line, a hint and an exit code.

The commands live in lmx_cli/commands, one file for each group; each imports what it needs when it is called, so that
`lmx --version` and `lmx --help` stay quick.
"""

import sys
from typing import TYPE_CHECKING

from lmx_daemon.contract.version import VERSION

if TYPE_CHECKING:
    from lmx_daemon.contract.errors import RequestError

KNOWN_ELSEWHERE = {"run": "lmx chat", "list": "lmx ls"}
"""What other programs call a command that lmx has under another name."""


def main() -> None:
    """The entry point of `lmx`."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):  # answered before Typer is imported: 15 ms instead of 70
        print(f"lmx {VERSION}")
        return
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    import typer

    from lmx_cli.commands import build
    from lmx_cli.output import ExitCode, Output
    from lmx_daemon.contract.errors import LmxError

    output = Output()
    try:
        result = build(output).main(args=arguments, prog_name="lmx", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except LmxError as error:
        output.error(error)
        return ExitCode.ERROR
    except typer.TyperException as error:
        output.error(_usage_error(arguments, error.format_message()))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (`lmx ls | head`); nothing is left to be said
        return ExitCode.OK


def _usage_error(arguments: list[str], message: str) -> "RequestError":
    from lmx_daemon.contract.errors import RequestError

    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    unknown = "No such command" in message
    if unknown and command in KNOWN_ELSEWHERE:
        return RequestError(f"No such command '{command}'.", hint=f"lmx calls it: {KNOWN_ELSEWHERE[command]}")
    return RequestError(message, hint="see: lmx --help" if unknown or command is None else f"see: lmx {command} --help")


if __name__ == "__main__":
    main()
