"""Conversations with tool calls, and with the results of tools."""

import json
from collections.abc import Callable
from typing import Any

from training.sample import ChatMessage, Sample, ToolSchema, tool_call
from training.task import Task
from training.tools import ToolMaker
from training.words import syllables

OFFERED = (45, 25, 15, 8, 4, 3)
"""Weights of 0, 1, 2 ... unrelated tools beside the tool that fits the request."""
COMMON = frozenset(("get", "fetch", "find", "show", "list", "set", "create", "send", "search", "current"))
"""Words that tools of one request may share, as get_time and get_weather do."""
TYPED = (
    "Extract the fields: {}", "Fill in the form: {}", "Return this as JSON: {}", "{}", "As JSON: {}", "Parse: {}",
    "Extract the data from this text: {}", "Give me the fields of: {}",
)  # fmt: skip
"""Requests for an answer that a JSON schema constrains."""


class ToolSamples:
    """Source of complete conversations with tools."""

    def __init__(self, maker: ToolMaker, most: int = 2) -> None:
        self.maker = maker
        self.most = most
        self.rng = maker.rng

    def unrelated(self, task: Task | None, count: int) -> list[Task]:
        """Return tasks that share no word with `task` or with each other, apart from common verbs such as get."""
        found: list[Task] = []
        used = (set(task.subject) | words_of(task.request) if task else set()) - COMMON
        while len(found) < count:
            other = self.maker.task()
            if not used & other.subject:
                found.append(other)
                used |= other.subject - COMMON
        return found

    def tools(self, task: Task, most: int = 2) -> list[ToolSchema]:
        count = self.rng.choices(range(most + 1), OFFERED[: most + 1])[0]
        tools = [task.tool, *(other.tool for other in self.unrelated(task, count))]
        self.rng.shuffle(tools)
        return tools

    def call(self) -> Sample:
        task = self.maker.task()
        return Sample(
            [user(task.request)], tool_call(task.name, task.arguments), self.tools(task, self.most), kind="call"
        )

    def typed(self) -> Sample:
        """Return a request for JSON. The schema is not in the prompt: the engine enforces its keys."""
        task = self.maker.general()
        while not task.arguments:
            task = self.maker.general()
        text = self.rng.choice(TYPED).format(task.request)
        return Sample([user(text)], json.dumps(task.arguments, ensure_ascii=False), kind="typed")

    def follow_up(self) -> Sample:
        task = self.maker.task()
        content = self.result()
        call = {"type": "function", "function": {"name": task.name, "arguments": task.arguments}}
        messages = [
            user(task.request),
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": content},
        ]
        return Sample(messages, f"{task.name} says:\n{content}", self.tools(task, 1), kind="follow_up")

    def result(self) -> str:
        """Return the text of a tool result."""
        rng, values = self.rng, self.maker.values
        makers: list[Callable[[], Any]] = [
            *(values.integer, values.number, values.place, values.person),
            *(values.words, values.words, values.code, values.date),
        ]
        if rng.random() < 0.5:
            parts = [str(rng.choice(makers)()) for _ in range(rng.choice([1, 1, 2, 3]))]
            text = rng.choice([", ", " and ", " "]).join(parts)
            if rng.random() < 0.25:
                text = f"{rng.choice(self.maker.bank.nouns)}: {text}"
            if rng.random() < 0.15:
                text += rng.choice([" °C", "%", " EUR", " km", " °F", " minutes"])
            return text + rng.choice(["", "", "", "."])
        keys = {rng.choice([rng.choice(self.maker.bank.nouns), syllables(rng)]) for _ in range(rng.randint(1, 3))}
        data = {key: rng.choice(makers)() for key in sorted(keys)}
        return json.dumps(data, ensure_ascii=False)


def words_of(text: str) -> set[str]:
    return {word for word in "".join(c if c.isalnum() else " " for c in text.lower()).split() if len(word) > 2}


def user(text: str) -> ChatMessage:
    return {"role": "user", "content": text}
