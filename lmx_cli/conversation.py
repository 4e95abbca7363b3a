"""A conversation with a model, in a shell: the messages so far, and one answer at a time."""

import uuid
from typing import Literal

from lmx_cli.output import Output
from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.errors import LmxError, error_from
from lmx_daemon.contract.generation import (
    Chat,
    Delta,
    Event,
    Failed,
    Finished,
    Generate,
    Loading,
    Message,
    Sampling,
    Started,
    TextPart,
)
from lmx_daemon.contract.types import GUIDE
from lmx_daemon.settings.paths import Home
from lmx_tui.conversation import Absence, absence

HELP = """/clear  forget the conversation     /system TEXT  set the system prompt
/stats  show figures after answers  /model ID     talk to another model
/exit   leave (or Ctrl-D)           Ctrl-C        stop the answer"""


class Conversation:
    """The messages so far, and one answer at a time."""

    def __init__(
        self,
        output: Output,
        model: str | None,
        system: str | None,
        think: bool | None,
        max_tokens: int | None,
        sampling: Sampling,
    ) -> None:
        self.model = model or ""
        self.stats = False
        self._output = output
        self._system = system
        self._think = think
        self._max_tokens = max_tokens
        self._sampling = sampling
        self._answered_by = ""
        """The id of the model that answered last, unless another one was chosen since."""
        self._messages: list[Message] = []
        self._client: Client | None = None

    async def open(self) -> None:
        home = Home.from_environment()
        await find_or_start(home)
        self._client = Client(home.socket)
        if not self.model:
            ready = [instance for instance in await self._client.instances() if instance.state == "ready"]
            ready.sort(key=lambda instance: instance.used_at or 0.0)
            self.model = ready[-1].model if ready else GUIDE

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def absence(self) -> Absence | None:
        """Return why the model of this conversation is not at hand any more; None where it is, or none answered yet."""
        assert self._client is not None
        if not self._answered_by:
            return None
        return absence(self._answered_by, await self._client.models(), await self._client.instances())

    def command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name == "/clear":
            self._messages.clear()
            self._output.note("cleared")
        elif name == "/system":
            self._system = rest.strip() or None
            self._output.note("system prompt set" if self._system else "no system prompt")
        elif name == "/stats":
            self.stats = not self.stats
            self._output.note("figures on" if self.stats else "figures off")
        elif name == "/model" and rest.strip():
            self.model, self._answered_by = rest.strip(), ""
            self._output.note(f"now talking to {self.model}")
        else:
            self._output.note(*HELP.splitlines())

    async def ask(self, text: str) -> None:
        """Streams one answer. A stopped answer stays in the conversation as far as it came."""
        assert self._client is not None
        self._messages.append(_message("user", text))
        answer = _Answer(self._output)
        try:
            async for event in self._client.generate(self._request()):
                answer.take(event)
                if isinstance(event, Started):
                    self._answered_by = event.instance.rpartition(":")[0]
        except LmxError:
            self._messages.pop()
            raise
        finally:
            self._output.progress("")
            if answer.content:
                self._messages.append(_message("assistant", "".join(answer.content)))
        if answer.end is not None:
            self._say_figures(answer.end)

    def _request(self) -> Generate:
        system = [_message("system", self._system)] if self._system else []
        return Generate(
            id=f"cli-{uuid.uuid4().hex[:12]}",
            model=self.model,
            prompt=Chat(messages=(*system, *self._messages), thinking=self._think),
            sampling=self._sampling,
            max_tokens=self._max_tokens,
            tenant="cli",
            client="lmx chat",
            route="/admin/generate",
        )

    def _say_figures(self, event: Finished) -> None:
        if event.reason == "length":
            self._output.note("(cut: the longest allowed answer is reached)")
        if self.stats:
            usage, timings = event.usage, event.timings
            rate = timings.tokens_per_second(usage.completion_tokens)
            self._output.note(
                f"{usage.prompt_tokens} prompt tokens ({usage.cached_tokens} cached) · {usage.completion_tokens} tokens"
                f" · TTFT {timings.first_token:.2f} s · {f'{rate:.1f} tok/s' if rate else '-'}"
            )


class _Answer:
    """Shows one answer as its events come."""

    def __init__(self, output: Output) -> None:
        self.content: list[str] = []
        self.end: Finished | None = None
        self._output = output
        self._thinking = False

    def take(self, event: Event) -> None:
        match event:
            case Loading(model=model, fraction=fraction, stage=stage):
                told = f"loading {model}" + (f": {stage}" if stage else "")
                self._output.progress(told + ("" if fraction is None else f" {fraction:.0%}"))
            case Started():
                self._output.progress("")
            case Delta():
                self._show(event)
            case Finished():
                self._output.text()
                self.end = event
            case Failed(error=error):
                if self.content:
                    self._output.text()
                raise error_from(error)
            case _:
                pass

    def _show(self, delta: Delta) -> None:
        if delta.reasoning and self._output.interactive:
            self._output.content(delta.reasoning, dim=True)
            self._thinking = True
        if delta.content:
            if self._thinking:
                self._output.text("", "")
                self._thinking = False
            self._output.content(delta.content)
            self.content.append(delta.content)


def _message(role: Literal["system", "user", "assistant"], text: str) -> Message:
    return Message(role=role, content=(TextPart(text=text),))
