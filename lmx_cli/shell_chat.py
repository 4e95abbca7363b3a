"""ShellChat: a conversation in a shell. Sends questions over the admin socket and writes answers while they stream."""

import time

from lmx_cli.output import Output
from lmx_daemon.client.client import Client
from lmx_daemon.client.conversation import Absence, Conversation, absence, default_model
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.chat_answer import ChatAnswer
from lmx_daemon.contract.errors import error_from
from lmx_daemon.contract.events import Delta, Event, Failed, Finished, Loading, Started
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.settings.paths import Home

HELP = """/clear  forget the conversation     /system TEXT  set the system prompt
/stats  show figures after answers  /model ID     talk to another model
/exit   leave (or Ctrl-D)           Ctrl-C        stop the answer
//TEXT  send a text that begins with a slash"""


class ShellChat:
    """A conversation with the daemon's models, written to `output`."""

    def __init__(self, output: Output, conversation: Conversation, model: str | None, *, stats: bool = False) -> None:
        """With `model` None, `open` chooses the model."""
        self.model = model or ""
        self._conversation = conversation
        self._stats = stats
        self._output = output
        self._client: Client | None = None

    async def open(self) -> None:
        """Connect to the daemon, which is started if none runs, and choose the model."""
        home = Home.from_environment()
        await find_or_start(home)
        self._client = Client.of(home)
        if not self.model:
            models, instances = await self._client.models(), await self._client.instances()
            self.model = default_model(models, instances) or GUIDE

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def absence(self) -> Absence | None:
        """Return why the model of this conversation cannot answer at once; None if it can, or if none has answered."""
        assert self._client is not None
        if self._conversation.model is None:
            return None
        return absence(self._conversation.model, await self._client.models(), await self._client.instances())

    async def command(self, line: str) -> None:
        """Run one line that begins with a slash; an unknown one shows the help. Raises ModelNotFoundError."""
        name, _, rest = line.partition(" ")
        if name == "/clear":
            self._conversation.turns.clear()
            self._output.note("cleared")
        elif name == "/system":
            self._conversation.system = rest.strip() or None
            self._output.note("system prompt set" if self._conversation.system else "no system prompt")
        elif name == "/stats":
            self._stats = not self._stats
            self._output.note("figures on" if self._stats else "figures off")
        elif name == "/model" and rest.strip():
            assert self._client is not None
            found = await self._client.named(rest.strip())
            self.model, self._conversation.model = rest.strip(), None
            self._output.note(f"now talking to {found.id}")
        else:
            self._output.note(*HELP.splitlines())

    async def ask(self, text: str) -> None:
        """Send a question and write its answer. A stopped answer stays in the conversation up to where it stopped.

        Raises the LmxError with which the request failed.
        """
        assert self._client is not None
        request = self._conversation.ask(text, self.model, time.monotonic())
        writer = _AnswerWriter(self._output)
        try:
            async for event in self._client.generate(request):
                self._conversation.consume(event, time.monotonic())
                writer.write(event)
        finally:
            self._output.progress("")
            self._conversation.stop()
        if self._conversation.answer is not None:
            self._write_figures(self._conversation.answer)

    def _write_figures(self, answer: ChatAnswer) -> None:
        if answer.truncated:
            self._output.note("(cut: the answer reached the maximum length)")
        if self._stats and answer.usage is not None and answer.timings is not None:
            usage, timings = answer.usage, answer.timings
            rate = timings.tokens_per_second(usage.completion_tokens)
            self._output.note(
                f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached) · {usage.completion_tokens} tokens"
                f" · TTFT {timings.first_token:.2f} s · {f'{rate:.1f} tok/s' if rate else '-'}"
            )


class _AnswerWriter:
    """Writes one answer while its events arrive. Reasoning is written to a terminal only, dimmed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._thinking = False
        self._began = False
        """Whether content has been written."""

    def write(self, event: Event) -> None:
        """Write the text of one event. Raises the error of a Failed event."""
        match event:
            case Loading(model=model, fraction=fraction, stage=stage):
                words = f"loading {model}" + (f": {stage}" if stage else "")
                self._output.progress(words + ("" if fraction is None else f" {fraction:.0%}"))
            case Started():
                self._output.progress("")
            case Delta():
                self._write_delta(event)
            case Finished():
                self._output.text()
            case Failed(error=error):
                if self._began:
                    self._output.text()
                raise error_from(error)
            case _:
                pass

    def _write_delta(self, delta: Delta) -> None:
        if delta.reasoning and self._output.interactive:
            self._output.content(delta.reasoning, dim=True)
            self._thinking = True
        if delta.content:
            if self._thinking:
                self._output.text("", "")
                self._thinking = False
            self._output.content(delta.content)
            self._began = True
