"""OpenChat: the chat that the screen shows, kept current by the updates of its stream. Pure."""

from lmx_daemon.contract.admin.chat_tree import path_to, siblings_of
from lmx_daemon.contract.admin.chats import ChatDetail, ChatRow, ChatSettings, ChatUpdate, StoredMessage
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.chat_answer import AnswerState, ChatAnswer, PartialCall
from lmx_daemon.contract.generation.events import Finished, Timings, Usage

INTERRUPTED = ErrorBody(
    code="interrupted", message="interrupted: the daemon stopped", hint="c continues it, r asks again"
)
STATES: dict[str, AnswerState] = {"done": "done", "stopped": "stopped", "failed": "failed", "interrupted": "failed"}


class OpenChat:
    """A chat, and the answers that grow in it. Without `row`, it is new and the daemon has none yet."""

    def __init__(self, row: ChatRow | None = None, settings: ChatSettings | None = None) -> None:
        self.row = row
        self.settings = settings or ChatSettings()
        self.leaf: str | None = None
        self.loaded = row is None
        """Whether the messages are known."""
        self.ended_at = 0.0
        """Time at which the last answer ended."""
        self.compared: tuple[str, ...] = ()
        """Ids of two answers to one prompt that are compared; () for none."""
        self._messages: dict[str, StoredMessage] = {}
        self._answers: dict[str, ChatAnswer] = {}
        self._path: list[StoredMessage] | None = None
        """The selected branch, kept until a message or the leaf changes."""

    @property
    def id(self) -> str:
        return "" if self.row is None else self.row.id

    @property
    def model(self) -> str | None:
        """Model of the chat; None before its first answer."""
        return (self.row.model if self.row is not None else "") or None

    @property
    def messages(self) -> tuple[StoredMessage, ...]:
        return tuple(self._messages.values())

    @property
    def path(self) -> list[StoredMessage]:
        """The messages of the selected branch."""
        if self._path is None:
            self._path = path_to(self.messages, self.leaf)
        return self._path

    @property
    def last(self) -> StoredMessage | None:
        return self._messages.get(self.leaf or "")

    @property
    def answer(self) -> ChatAnswer | None:
        """The last answer of the selected branch."""
        found = next((message for message in reversed(self.path) if message.role == "assistant"), None)
        return self.answer_of(found) if found is not None else None

    @property
    def columns(self) -> list[StoredMessage]:
        """The two answers that are compared, if one of them is the end of the selected branch; else []."""
        found = [message for each in self.compared if (message := self._messages.get(each)) is not None]
        return found if len(found) == 2 and self.leaf in self.compared else []

    @property
    def growing(self) -> list[StoredMessage]:
        """The answers of the selected branch, and those that are compared, that are being generated."""
        found = {message.id: message for message in (*self.path, *self.columns)}
        return [message for message in found.values() if message.state == "running"]

    @property
    def busy(self) -> bool:
        return bool(self.growing)

    def apply(self, update: ChatUpdate, now: float) -> None:
        """Change the chat by one line of its stream."""
        if update.chat is not None or update.message is not None or update.leaf is not None:
            self._path = None
        if update.chat is not None:
            self._begin(update.chat, now)
        if update.message is not None:
            self._put(update.message, now)
        if update.answer in self._messages:
            self._grow(update, now)
        if update.row is not None:
            self.row = update.row
        if update.leaf is not None:
            self.leaf = update.leaf

    def message(self, identity: str) -> StoredMessage | None:
        return self._messages.get(identity)

    def answer_of(self, message: StoredMessage) -> ChatAnswer:
        """Return the answer of an assistant message; one object for as long as the answer grows."""
        if message.id not in self._answers:
            self._answers[message.id] = stored_answer(message, 0.0)
        return self._answers[message.id]

    def places(self) -> dict[str, tuple[int, int]]:
        """Return the place of each message of the branch among its siblings, from 1, and their number."""
        groups: dict[tuple[str | None, str], list[str]] = {}
        for message in self._messages.values():
            groups.setdefault((message.parent, message.role), []).append(message.id)
        found = {}
        for message in self.path:
            siblings = groups[message.parent, message.role]
            found[message.id] = (siblings.index(message.id) + 1, len(siblings))
        return found

    def sibling(self, message: StoredMessage, step: int) -> StoredMessage | None:
        """Return the branch before or after a message; None if there is none."""
        siblings = siblings_of(self.messages, message)
        place = [sibling.id for sibling in siblings].index(message.id) + step
        return siblings[place] if 0 <= place < len(siblings) else None

    def _begin(self, chat: ChatDetail, now: float) -> None:
        self.row, self.settings, self.leaf, self.loaded = chat.row, chat.settings, chat.leaf, True
        self._messages = {message.id: message for message in chat.messages}
        running = (message for message in chat.messages if message.state == "running")
        self._answers = {message.id: stored_answer(message, now) for message in running}

    def _put(self, message: StoredMessage, now: float) -> None:
        self._messages[message.id] = message
        if message.role != "assistant":
            return
        if message.state == "running":
            self._answers[message.id] = stored_answer(message, now)
            return
        self.ended_at = now
        kept = self._answers.get(message.id)
        if kept is None or kept.content != message.text or not kept.ended or message.state == "interrupted":
            self._answers[message.id] = stored_answer(message, now)

    def _grow(self, update: ChatUpdate, now: float) -> None:
        answer = self.answer_of(self._messages[update.answer])
        for event in update.events:
            answer.consume(event, now)
            if isinstance(event, Finished):
                self.ended_at = now


def stored_answer(message: StoredMessage, now: float) -> ChatAnswer:
    """Return an assistant message in the form that its view draws."""
    figures = message.figures
    answer = ChatAnswer(message.request_id, message.model, now, content=message.text, reasoning=message.reasoning)
    answer.calls = {
        place: PartialCall(name=call.name, arguments=call.arguments) for place, call in enumerate(message.tool_calls)
    }
    if message.state != "running":
        answer.state = STATES[message.state]
        answer.error = INTERRUPTED if message.state == "interrupted" else message.error
    elif message.text or message.reasoning:
        answer.state = "generating" if message.text else "thinking"
    if figures is None:
        return answer
    answer.prompt_tokens, answer.cached_tokens = figures.prompt_tokens, figures.cached_tokens
    answer.context_length, answer.tokens, answer.truncated = figures.context_length, figures.tokens, figures.truncated
    answer.miss, answer.first_difference = figures.miss, figures.first_difference
    if message.state == "running":
        return answer
    if figures.thinking_seconds:
        answer.first_at, answer.thinking_ended_at = now, now + figures.thinking_seconds
    if figures.first_token is not None or figures.rate:
        decode = max(0.0, figures.tokens - 1) / figures.rate if figures.rate else 0.0
        answer.timings = Timings(first_token=figures.first_token or 0.0, decode=decode)
        answer.usage = Usage(
            prompt_tokens=figures.prompt_tokens or 0,
            cached_tokens=figures.cached_tokens or 0,
            completion_tokens=figures.tokens,
        )
    return answer
