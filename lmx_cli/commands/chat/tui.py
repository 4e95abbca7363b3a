"""`lmx` without a command, `lmx tui`, `lmx demo`, `lmx version`."""

import typer

from lmx_cli.commands.options import JSON, usage_faults
from lmx_cli.output import ExitCode, Output
from lmx_cli.remote import choose_daemon

QUESTION = "What is lmx and how do I use it?"


def add(app: typer.Typer, output: Output) -> None:
    _add_options(app, output)
    _add_screens(app, output)

    @app.command()
    def version(json: bool = JSON) -> int:
        """Print the versions of lmx and its main dependencies."""
        return show_versions(output, json)


def _add_options(app: typer.Typer, output: Output) -> None:
    """Add the options of `lmx` itself."""

    @app.callback(invoke_without_command=True)
    def lmx(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", "-V", help="Print the version and exit."),
        debug: bool = typer.Option(
            False, "--debug", help="Show the traceback of an unexpected error, as LMX_DEBUG=1 does."
        ),
        install_completion: bool = typer.Option(
            False, "--install-completion", help="Install completion for the shell that $SHELL names."
        ),
        show_completion: bool = typer.Option(
            False, "--show-completion", help="Print the completion script of that shell."
        ),
        host: str | None = typer.Option(
            None,
            "--host",
            metavar="URL",
            help="URL of a daemon on another machine, such as https://box:1234. Default: $LMX_HOST.",
        ),
        ca: str | None = typer.Option(
            None, "--ca", metavar="FILE", help="Certificates to verify --host with. Default: $SSL_CERT_FILE."
        ),
    ) -> int | None:
        output.debug = output.debug or debug
        with usage_faults():
            choose_daemon(host, ca, context.invoked_subcommand)
        if version:
            from lmx_daemon.contract.version import VERSION

            output.text(f"lmx {VERSION}")
            raise typer.Exit
        if install_completion or show_completion:
            from lmx_cli.commands.settings.completion import complete_in

            raise typer.Exit(complete_in(output, None, install_completion))
        return _open(context, output) if context.invoked_subcommand is None else None


def _add_screens(app: typer.Typer, output: Output) -> None:
    @app.command()
    def tui(
        demo: bool = typer.Option(
            False, "--demo", help="Show a scripted daemon: no model runs, nothing is kept or sent."
        ),
        plain: bool = typer.Option(
            False, "--plain", help="Read commands line by line, without colours and cursor, for screen readers."
        ),
    ) -> int:
        """Open the terminal UI. Starts the daemon if none runs."""
        from lmx_daemon.contract.errors import RequestError, UsageError

        if demo and plain:
            raise UsageError("--demo and --plain exclude each other", hint="the demonstration is one of the screens")
        if plain:
            return open_plain()
        if not output.interactive:
            raise RequestError("the TUI needs a terminal", hint="without one: lmx tui --plain, lmx chat -p, lmx status")
        return open_demo(output) if demo else open_tui(output)

    @app.command()
    def demo(question: str = typer.Argument(QUESTION, help="Question to lmx/guide.")) -> int:
        """Ask the built-in model over HTTP, then open the TUI. Without a terminal: show how to connect."""
        import asyncio

        from lmx_cli.demonstration import demonstrate

        asyncio.run(demonstrate(output, question))
        return open_tui(output) if output.interactive else ExitCode.OK


def _open(context: typer.Context, output: Output) -> int:
    """Open the TUI on a terminal; print the help elsewhere."""
    if output.interactive:
        return open_tui(output)
    output.text(*context.get_help().splitlines())
    return ExitCode.OK


def show_versions(output: Output, json: bool) -> int:
    """Print the version of each package."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from lmx_daemon.contract.version import VERSION

    versions = {"lmx": VERSION, "python": platform.python_version(), "platform": platform.platform()}
    for package in ("mlx", "mlx-lm", "textual", "litestar", "huggingface-hub"):
        try:
            versions[package] = installed(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    if json:
        output.json(versions)
    else:
        for name, value in versions.items():
            output.text(f"{name:<16} {value}")
    return ExitCode.OK


def open_tui(output: Output) -> int:
    """Run the TUI and return its exit code."""
    from lmx_daemon.settings.layers import read_settings
    from lmx_daemon.settings.paths import Home
    from lmx_tui.start import run_tui

    home = Home.from_environment()
    home.make()
    return run_tui(home, read_settings(home), debug=output.debug)


def open_demo(output: Output) -> int:
    """Run the TUI over a scripted daemon and return its exit code."""
    from lmx_daemon.settings.layers import read_settings
    from lmx_daemon.settings.paths import Home
    from lmx_tui.start import run_demo

    return run_demo(read_settings(Home.from_environment()), debug=output.debug)


def open_plain() -> int:
    """Run a session of lines, and return its exit code. A daemon is started if none runs."""
    import asyncio

    from lmx_cli.main import run
    from lmx_cli.plain_shell import PlainShell, use_plain_terminal
    from lmx_daemon.client.spawn import find_or_start
    from lmx_daemon.settings.paths import Home

    use_plain_terminal()
    output = Output()  # it reads the terminal's abilities again
    status = asyncio.run(find_or_start(Home.from_environment()))
    output.text(f"the daemon answers at {status.address}")
    return PlainShell(output, run).loop()
