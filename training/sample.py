"""A conversation with its answer, and its conversion to token ids. The source of samples is elsewhere."""

import json
from dataclasses import dataclass, field
from typing import Any

import jinja2
from tokenizers import Tokenizer

from training.tokenizer import END, chat_template

ChatMessage = dict[str, Any]
ToolSchema = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Conversation, offered tools and the expected answer."""

    messages: list[ChatMessage]
    answer: str
    tools: list[ToolSchema] = field(default_factory=list)
    thought: str | None = None
    """Text of the think block. None: thinking is disabled, and the prompt closes the block."""
    kind: str = ""

    @property
    def output(self) -> str:
        return self.answer if self.thought is None else thinking(self.thought) + self.answer


def thinking(thought: str) -> str:
    return f"<think>\n{thought}\n</think>\n\n"


def tool_call(name: str, arguments: dict[str, Any]) -> str:
    body = json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "{name}", "arguments": {body}}}\n</tool_call>'


class Renderer:
    """Conversion of samples to (prompt ids, answer ids) with the template that ships with the weights."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(chat_template())

    def prompt(self, sample: Sample) -> str:
        return self.template.render(
            messages=sample.messages,
            tools=sample.tools,
            add_generation_prompt=True,
            enable_thinking=sample.thought is not None,
        )

    def encode(self, sample: Sample) -> tuple[list[int], list[int]]:
        texts = [self.prompt(sample), sample.output + END]
        prompt, answer = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return prompt.ids, answer.ids
