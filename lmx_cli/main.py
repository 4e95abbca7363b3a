"""Entry point of `lmx`: builds the command tree, and turns each error into a line, a hint and an exit code.

The commands are in lmx_cli/commands, one module for each group. A command imports its dependencies when it is called,
so that `lmx --version` and `lmx --help` stay fast.
"""

import contextlib
import gc
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from lmx_daemon.contract.version import VERSION

if TYPE_CHECKING:
    from typer import TyperException

    from lmx_cli.output import ExitCode, Output
    from lmx_daemon.contract.errors import LmxError, UsageError

COMPLETE = "__complete"
"""Hidden command that the completion scripts of the shells run with the line up to the cursor."""

GC_THRESHOLD = 20_000
"""New objects before a collection. With Python's 700, collections during the imports take a twentieth of the start."""


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):  # before the import of Typer: 15 ms instead of 70
        print(f"lmx {VERSION}")
        return
    gc.set_threshold(GC_THRESHOLD)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a Latin-1 terminal is not an error
    from lmx_cli.output import Output

    output = Output()
    if arguments[:1] == [COMPLETE]:
        from lmx_cli.completion.answer import answer

        answer(output, " ".join(arguments[1:]))
        return
    end_on_signals(output)
    sys.exit(run(arguments, output))


def run(arguments: list[str], output: "Output | None" = None) -> int:
    """Run one command line and return its exit code."""
    from lmx_cli.output import ExitCode, Output
    from lmx_cli.verbs import translated

    output = output or Output()
    arguments = translated(arguments)
    try:
        code = _run(arguments, output)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_stdout()  # the reader has closed the pipe, as in `lmx ls | head`
        return ExitCode.OK
    except KeyboardInterrupt:
        output.restore_terminal()
        return ExitCode.INTERRUPTED
    except Exception as error:  # the command line's edge: users get a message, not a traceback
        if isinstance(error, OSError):  # it may be one of stdout, as on a full disk
            _discard_stdout()
            output.error(_unexpected(error))
        else:
            _report(_unexpected(error), arguments, output)
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
        command = next((word for word in arguments if not word.startswith("-")), "")
        result = build(output, command).main(args=arguments, prog_name="lmx", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except LmxError as error:
        _report(error, arguments, output)
        return _exit_code(error)
    except typer.TyperException as error:
        if (page := _help_page(error)) is not None:
            output.note(*page.splitlines())
        else:
            _report(_usage_error(arguments, error), arguments, output)
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED


def _report(error: "LmxError", arguments: list[str], output: "Output") -> None:
    """Write the error that ends the command: as JSON to stdout with --json, else as text to stderr."""
    if "--json" in arguments:
        output.progress("")
        output.json_line({"error": error.body()})
    else:
        output.error(error)


def _exit_code(error: "LmxError") -> "ExitCode":
    """Return the exit code of an error. A daemon that runs but does not answer counts as an ordinary error."""
    from lmx_cli.output import ExitCode
    from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError, UsageError

    match error:
        case UsageError():
            return ExitCode.USAGE
        case DaemonSilentError():
            return ExitCode.ERROR
        case DaemonUnreachableError():
            return ExitCode.NOT_RUNNING
        case _:
            return ExitCode.ERROR


def _unexpected(error: Exception) -> "LmxError":
    from lmx_daemon.contract.errors import LmxError

    words = " ".join(str(error).split())
    reason = words if isinstance(error, OSError) else f"{type(error).__name__}{f': {words}' if words else ''}"
    return LmxError(f"lmx ended unexpectedly: {reason}", hint="set LMX_DEBUG=1 or use lmx --debug to see the traceback")


def _discard_stdout() -> None:
    """Redirect stdout to the null device; otherwise Python fails again when it flushes the buffer at its exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def end_on_signals(output: "Output") -> None:
    """Make SIGTERM and SIGHUP restore the terminal and exit with 128 + the signal number; a second one ends at once."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        output.ended_by = number
        output.restore_terminal()
        import logging  # here, since `lmx --version` needs none

        # The exit interrupts whatever the event loop runs; its report on tasks that did not end in order is of no use.
        logging.getLogger("asyncio").disabled = True
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # only the main thread of a process has signals
            if signal.getsignal(number) == signal.SIG_DFL:  # a SIGHUP that nohup set to be ignored stays ignored
                signal.signal(number, end)


def _help_page(error: "TyperException") -> str | None:
    """Return the help of a group that was called without a command, which Typer raises as an error; else None."""
    context, message = getattr(error, "ctx", None), error.format_message()
    return message if context is not None and message == context.get_help() else None


def _usage_error(arguments: list[str], error: "TyperException") -> "UsageError":
    """Return the error of a command line that Typer refuses. Its hint names the help of the command."""
    import re

    from lmx_cli.verbs import hint_for
    from lmx_daemon.contract.errors import UsageError

    context = getattr(error, "ctx", None)
    hint = hint_for([argument for argument in arguments if not argument.startswith("-")])
    message = re.sub(r"is not a valid int( range)?\.", "is not a whole number.", error.format_message())
    return UsageError(
        re.sub(r"is not a valid float( range)?\.", "is not a number.", message),
        hint=hint or f"see: {context.command_path if context else 'lmx'} --help",
    )


if __name__ == "__main__":
    main()
