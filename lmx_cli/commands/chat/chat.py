"""`lmx chat`: one question (`-p`, or stdin) or a conversation, over the admin socket."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import LmxError, UsageError

if TYPE_CHECKING:
    from lmx_cli.chat.shell_chat import ShellChat


def add(app: typer.Typer, output: Output) -> None:  # long: the options of its commands
    @app.command()
    def chat(
        model: str | None = typer.Argument(
            None, help="Model, as `lmx ls` lists it. Default: the loaded one used last, else lmx/guide."
        ),
        question: str | None = typer.Argument(None, hidden=True),  # as in: ollama run MODEL "question"
        prompt: str | None = typer.Option(None, "--prompt", "-p", help="Print the answer to this prompt and exit."),
        system: str | None = typer.Option(None, "--system", "-s", help="System prompt."),
        think: bool | None = typer.Option(
            None, "--think/--no-think", help="Turn thinking on or off, if the model supports it."
        ),
        max_tokens: int | None = typer.Option(None, min=1, help="Maximum length of an answer, in tokens."),
        temperature: float | None = typer.Option(None, min=0, max=2, help="Sampling temperature. 0 is greedy."),
        seed: int | None = typer.Option(None, min=0, help="Seed. The same seed gives the same answer."),
        stats: bool = typer.Option(False, "--stats", help="Show speed, times and token counts after each answer."),
    ) -> int:
        """Chat with a model. If stdin is not a terminal, the question is read from it."""
        prompt = prompt or question
        if not sys.stdin.isatty():
            piped = sys.stdin.buffer.read().decode(errors="replace").strip()
            prompt = "\n\n".join(part for part in (prompt, piped) if part)
            if not prompt:
                raise UsageError("there is nothing to ask: stdin is empty", hint='give a question: lmx chat -p "..."')
        from lmx_cli.chat.shell_chat import ShellChat
        from lmx_daemon.client.conversation import Conversation
        from lmx_daemon.contract.generation.requests import Sampling

        conversation = Conversation(
            tenant="cli",
            client="lmx chat",
            thinking=think,
            system=system,
            sampling=Sampling(temperature=temperature, seed=seed),
            max_tokens=max_tokens,
        )
        shell_chat = ShellChat(output, conversation, model, stats=stats)
        with asyncio.Runner() as runner:
            try:
                runner.run(shell_chat.open())
                return _once(runner, shell_chat, prompt) if prompt else _converse(runner, shell_chat, output)
            finally:
                runner.run(shell_chat.close())


def _once(runner: asyncio.Runner, shell_chat: "ShellChat", prompt: str) -> int:
    try:
        runner.run(shell_chat.ask(prompt))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _converse(runner: asyncio.Runner, shell_chat: "ShellChat", output: Output) -> int:
    from lmx_cli.chat.typed import InputHistory, message
    from lmx_daemon.settings.paths import Home

    history = InputHistory(Home.from_environment().chat_lines)
    try:
        return _messages(runner, shell_chat, output, lambda: message(input), history.add)
    finally:
        history.save()


def _messages(
    runner: asyncio.Runner,
    shell_chat: "ShellChat",
    output: Output,
    read: Callable[[], str],
    remember: Callable[[str], None],
) -> int:
    output.note(f"{shell_chat.model} · /help for help, Ctrl-D to leave")
    while True:
        try:
            line = read()
        except EOFError:
            output.text()
            return ExitCode.OK
        except KeyboardInterrupt:
            output.note("", "(Ctrl-D or /exit to leave)")
            continue
        remember(line)
        if line in ("/exit", "/quit"):
            return ExitCode.OK
        if line.startswith("/") and not line.startswith("//"):
            _command(runner, shell_chat, output, line)
        elif line:
            _ask(runner, shell_chat, output, line.removeprefix("/") if line.startswith("//") else line)


def _command(runner: asyncio.Runner, shell_chat: "ShellChat", output: Output, line: str) -> None:
    """Run one slash command. An error does not change the conversation."""
    try:
        runner.run(shell_chat.command(line))
    except KeyboardInterrupt:
        output.note("", "(stopped)")
    except LmxError as error:
        output.error(error)


def _ask(runner: asyncio.Runner, shell_chat: "ShellChat", output: Output, line: str) -> None:
    """Ask one question. If the model was unloaded since its last answer, ask first whether to load it again."""
    from lmx_daemon.client.conversation import ABSENCES

    try:
        reason = runner.run(shell_chat.absence())
        if reason is not None:
            output.note(f"{shell_chat.model} {ABSENCES[reason]}; /model ID chooses another")
        if reason == "missing" or (reason and input("load it again? [Y/n] ").strip().lower() not in ("", "y", "yes")):
            return
        runner.run(shell_chat.ask(line))
    except (KeyboardInterrupt, EOFError):
        output.note("", "(stopped)")
    except LmxError as error:
        output.error(error)
