"""`lmx`: builds the command tree, and turns every error into a line, a hint and an exit code.

The commands live in lmx_cli/commands, one file for each group; each imports what it needs when it is called, so that
`lmx --version` and `lmx --help` stay quick.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from lmx_daemon.contract.version import VERSION

if TYPE_CHECKING:
    from lmx_cli.output import Output
    from lmx_daemon.contract.errors import LmxError, RequestError

KNOWN_ELSEWHERE = {"run": "lmx chat", "list": "lmx ls"}
"""What other programs call a command that lmx has under another name."""


def main() -> None:
    """The entry point of `lmx`."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):  # answered before Typer is imported: 15 ms instead of 70
        print(f"lmx {VERSION}")
        return
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a Latin-1 terminal is no error
    from lmx_cli.output import Output

    output = Output()
    end_on_signals(output)
    sys.exit(run(arguments, output))


def run(arguments: list[str], output: "Output | None" = None) -> int:
    """Run one command line and return its exit code."""
    from lmx_cli.output import ExitCode, Output

    output = output or Output()
    try:
        code = _run(arguments, output)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_stdout()  # the reader left, as in `lmx ls | head`; no message can reach it
        return ExitCode.OK
    except KeyboardInterrupt:
        output.restore_terminal()
        return ExitCode.INTERRUPTED
    except Exception as error:  # the command line's edge: a traceback helps no user
        if isinstance(error, OSError):
            _discard_stdout()
        output.error(_unexpected(error))
        if output.debug:
            import traceback

            traceback.print_exception(error)
        return ExitCode.ERROR


def _run(arguments: list[str], output: "Output") -> int:
    import typer

    from lmx_cli.commands import build
    from lmx_cli.output import ExitCode
    from lmx_daemon.contract.errors import LmxError

    try:
        result = build(output).main(args=arguments, prog_name="lmx", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except LmxError as error:
        output.error(error)
        return ExitCode.ERROR
    except typer.TyperException as error:
        output.error(_usage_error(arguments, error.format_message()))
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED


def _unexpected(error: Exception) -> "LmxError":
    from lmx_daemon.contract.errors import LmxError

    words = " ".join(str(error).split())
    told = words if isinstance(error, OSError) else f"{type(error).__name__}{f': {words}' if words else ''}"
    return LmxError(f"lmx could not go on: {told}", hint="set LMX_DEBUG=1, or call lmx --debug, to see where it failed")


def _discard_stdout() -> None:
    """Send what is still buffered for stdout to nowhere, or Python would fail on it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def end_on_signals(output: "Output") -> None:
    """Make SIGTERM and SIGHUP restore the terminal and end with 128 + their number; a second one ends at once."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        output.ended_by = number
        output.restore_terminal()
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # only the main thread of a process has signals
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP, which has to stay so
                signal.signal(number, end)


def _usage_error(arguments: list[str], message: str) -> "RequestError":
    from lmx_daemon.contract.errors import RequestError

    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    unknown = "No such command" in message
    if unknown and command in KNOWN_ELSEWHERE:
        return RequestError(f"No such command '{command}'.", hint=f"lmx calls it: {KNOWN_ELSEWHERE[command]}")
    return RequestError(message, hint="see: lmx --help" if unknown or command is None else f"see: lmx {command} --help")


if __name__ == "__main__":
    main()
