"""ShellChat: a conversation in a shell. It sends questions over the admin socket and writes answers as they stream."""

import time

from lmx_cli.chat import files
from lmx_cli.chat.parameters import ChatParameters, changed, described
from lmx_cli.output import Output
from lmx_daemon.client.client import Client
from lmx_daemon.client.conversation import Absence, Conversation, absence, default_model
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.errors import error_from
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Finished, Loading, Started
from lmx_daemon.contract.generation.requests import ImagePart
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.contract.units import size
from lmx_daemon.settings.paths import Home

HELP = """/clear         forget the conversation
/exit          leave (or Ctrl-D)
/export FILE   write the conversation as Markdown
/file PATH     send a text or an image with the next question
/model ID      talk to another model
/params K=V    set temperature, top_p, max_tokens, thinking and others
/save FILE     write the conversation as JSON, as the messages of a request
/stats         show figures after answers
/system TEXT   set the system prompt
//TEXT         send a text that begins with a slash
Ctrl-C         stop the answer
A line that ends in \\ continues on the next; \"\"\" encloses several lines."""


class ShellChat:
    """A conversation with the daemon's models, written to `output`."""

    def __init__(self, output: Output, conversation: Conversation, model: str | None, *, stats: bool = False) -> None:
        """With `model` None, `open` chooses the model."""
        self.model = model or ""
        self._conversation = conversation
        self._stats = stats
        self._output = output
        self._client: Client | None = None
        self._files: list[tuple[str, str]] = []
        """Names and texts of files for the next question."""
        self._images: list[ImagePart] = []
        """Images for the next question."""

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
        """Return why the model that answered last cannot answer at once; None if it can, or if none has answered."""
        assert self._client is not None
        if self._conversation.model is None:
            return None
        return absence(self._conversation.model, await self._client.models(), await self._client.instances())

    async def command(self, line: str) -> None:
        """Run one line that begins with a slash; an unknown one shows the help. Raises LmxError."""
        name, _, rest = line.partition(" ")
        conversation, rest = self._conversation, rest.strip()
        match name:
            case "/clear":
                conversation.turns.clear()
                self._forget_files()
                self._output.note("cleared")
            case "/system":
                conversation.system = rest or None
                self._output.note("system prompt set" if conversation.system else "no system prompt")
            case "/stats":
                self._stats = not self._stats
                self._output.note("figures on" if self._stats else "figures off")
            case "/model" if rest:
                assert self._client is not None
                found = await self._client.named(rest)
                self.model, conversation.model = rest, None
                self._output.note(f"now talking to {found.id}")
            case "/model":
                self._output.note(f"talking to {conversation.model or self.model}")
            case "/params":
                self._set_parameters(rest.split())
            case "/file" if rest:
                self._add_file(rest)
            case "/save" | "/export" if rest:
                write = files.as_json if name == "/save" else files.as_markdown
                path = files.save(rest, write(conversation.turns, conversation.system))
                self._output.note(f"wrote {path}")
            case "/help":
                self._output.note(*HELP.splitlines())
            case _:
                self._output.note(f"{name} is not a command, or needs a value", *HELP.splitlines())

    def _add_file(self, path: str) -> None:
        content, name = files.content_of(path), path.rpartition("/")[2]
        if isinstance(content, str):
            self._files.append((path, content))
            self._output.note(f"{name} goes with the next question, {len(content):,} characters")
        else:
            self._images.append(content)
            self._output.note(f"{name} goes with the next question, an image of {size(len(content.data))}")

    def _forget_files(self) -> None:
        self._files.clear()
        self._images.clear()

    def _set_parameters(self, words: list[str]) -> None:
        conversation = self._conversation
        before = ChatParameters(
            sampling=conversation.sampling, max_tokens=conversation.max_tokens, thinking=conversation.thinking
        )
        after = changed(before, words)
        conversation.sampling, conversation.max_tokens = after.sampling, after.max_tokens
        conversation.thinking = after.thinking
        self._output.note(described(after))

    async def ask(self, text: str) -> None:
        """Send a question and write its answer. A stopped answer stays in the conversation up to where it stopped.

        Raises the LmxError with which the request failed.
        """
        assert self._client is not None
        prompt, images = files.with_files(text, self._files), tuple(self._images)
        request = self._conversation.ask(prompt, self.model, time.monotonic(), images)
        self._forget_files()
        writer = _AnswerWriter(self._output)
        try:
            async for event in self._client.generate(request):
                self._conversation.consume(event, time.monotonic())
                writer.write(event)
        finally:
            self._output.end_words()
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
    """Writer of one answer while its events arrive. Reasoning is written to a terminal only, dimmed."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._thinking = False
        self._began = False
        """Whether content has been written."""

    def write(self, event: Event) -> None:
        """Write the text of one event. Raises the error of a Failed event."""
        match event:
            case Loading(model=model, fraction=fraction, stage=stage):
                self._output.progress(model, fraction, ["loading", *([stage] if stage else [])])
            case Started():
                self._output.progress("")
            case Delta():
                self._write_delta(event)
            case Finished():
                self._output.end_words()
                self._output.text()
            case Failed(error=error):
                if self._began:
                    self._output.end_words()
                    self._output.text()
                raise error_from(error)
            case _:
                pass

    def _write_delta(self, delta: Delta) -> None:
        if delta.reasoning and self._output.interactive:
            self._output.words(delta.reasoning, dim=True)
            self._thinking = True
        if delta.content:
            if self._thinking:
                self._output.end_words()
                self._output.text("", "")
                self._thinking = False
            self._output.words(delta.content)
            self._began = True
