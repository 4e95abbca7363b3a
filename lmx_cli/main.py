"""`lmx`: builds the command tree, and turns every error into a line, a hint and an exit code.

The commands live in lmx_cli/commands, one file for each group; each imports what it needs when it is called, so that
`lmx --version` and `lmx --help` stay quick.
"""

import sys

from lmx_daemon.contract.version import VERSION


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
    from lmx_daemon.contract.errors import LmxError, RequestError

    output = Output()
    try:
        result = build(output).main(args=arguments, prog_name="lmx", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except LmxError as error:
        output.error(error)
        return ExitCode.ERROR
    except typer.TyperException as error:
        output.error(RequestError(error.format_message(), hint=f"see: {_help_for(arguments, error)}"))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away (`lmx ls | head`); nothing is left to be said
        return ExitCode.OK


def _help_for(arguments: list[str], error: Exception) -> str:
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    return "lmx --help" if command is None or "No such command" in str(error) else f"lmx {command} --help"


if __name__ == "__main__":
    main()
