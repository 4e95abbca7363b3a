"""Building of a request's prompt: the template renders in a killable child, the text is tokenised here.

It does not import MLX. It runs on the prompt thread, so that a slow template or a long prompt delays no step.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.errors import RequestError, UnsupportedError, prompt_too_long
from lmx_daemon.contract.requests import Chat, ImagePart, Message, Prompt, Text, Tokens, Tool
from lmx_daemon.engines.mlx.text.control_tokens import ControlTokens
from lmx_daemon.engines.mlx.text.thinking import thinking_variables
from lmx_daemon.worker.template_child import TemplateChild

SLICE_CHARACTERS = 256 * 1024
SLICE_SLACK = 256
PATIENCE = 4.0
"""Allowed factor between tokenising a whole text and tokenising its slices."""
PROBE = "The quick brown fox jumps over 13 lazy dogs.\n\n  caf\u00e9 \u65e5\u672c\u8a9e"
"""Text whose tokens show whether the tokenizer works."""
TAIL_CHARACTERS = 4000
"""Characters at the end of the prompt that are searched for an open thinking marker."""


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt, ready for the batch."""

    tokens: list[int]
    tools: list[dict[str, Any]]
    thinking: bool = False
    """Whether the prompt ends inside an open thinking block."""
    opening: int = 0
    """Number of tokens before the conversation itself; other conversations may begin with the same."""
    raw: bool = False
    """Whether the prompt is a completion: its answer is plain text without markers."""


class PromptBuilder:
    """Builder of the prompts of one loaded model."""

    def __init__(
        self,
        tokenizer: Any,
        context_length: int,
        vocabulary: int,
        child: TemplateChild,
        *,
        marks_opening: bool = False,
        progress: Callable[[float], None] = lambda seconds: None,
        sanitize: bool = True,
    ) -> None:
        """Create the builder.

        With `marks_opening`, prompts state where their conversation begins, which costs tokenising the text before it.
        `progress` is called after each part of the work with the time that the next part may take at most. With
        `sanitize`, control tokens in the texts of users and tools are encoded as plain text.
        """
        self._marks_opening = marks_opening
        self._tokenizer = tokenizer
        self._context_length = context_length
        self._vocabulary = vocabulary
        self._child = child
        self._progress = progress
        self._probe = self._tokenizer.encode(PROBE)
        self._control = ControlTokens(tokenizer, self._source_text()) if sanitize else None

    def works(self) -> bool:
        """Return whether the tokenizer still returns the tokens that it returned at the load."""
        try:
            return bool(self._tokenizer.encode(PROBE) == self._probe)
        except BaseException:  # the same tokenizer may fail here too
            return False

    def build(self, prompt: Prompt) -> PreparedPrompt:
        """Return the tokens of a prompt. Raises RequestError, ContextLengthError or UnsupportedError."""
        match prompt:
            case Chat():
                prepared = self._chat(prompt)
            case Text(text=text):
                self._check_size(text, "prompt")
                prepared = PreparedPrompt(list(self._tokenizer.encode(text)), [], raw=True)
            case Tokens(ids=ids):
                for token in ids:
                    if not 0 <= token < self._vocabulary:
                        raise RequestError(
                            f"token {token} does not exist; this model has 0 to {self._vocabulary - 1}", param="prompt"
                        )
                prepared = PreparedPrompt(list(ids), [], raw=True)
        if not prepared.tokens:
            raise RequestError("the prompt is empty", param="messages" if isinstance(prompt, Chat) else "prompt")
        if len(prepared.tokens) >= self._context_length:
            param = "messages" if isinstance(prompt, Chat) else "prompt"
            raise prompt_too_long(len(prepared.tokens), self._context_length, param)
        return prepared

    def _check_size(self, text: str, param: str) -> None:
        """Raise ContextLengthError for a text that is far too long, without tokenising all of it.

        Tokenising all would delay every other prompt by minutes. Cutting adds a few tokens at each edge; the slack
        allows for them.
        """
        counted, begun = 0, time.monotonic()
        for start in range(0, len(text), SLICE_CHARACTERS) if len(text) > SLICE_CHARACTERS else ():
            counted += len(self._tokenizer.encode(text[start : start + SLICE_CHARACTERS], add_special_tokens=False))
            counted -= SLICE_SLACK
            self._progress(0.0)
            if counted > self._context_length:
                raise prompt_too_long(counted, self._context_length, param, because="counted in part")
        self._progress(PATIENCE * (time.monotonic() - begun))  # the whole text, in one call

    def _chat(self, chat: Chat) -> PreparedPrompt:
        for position, message in enumerate(chat.messages):
            if any(isinstance(part, ImagePart) for part in message.content):
                raise UnsupportedError("this model cannot see images", param=f"messages[{position}].content")
        tools = [as_function(tool) for tool in chat.tools]
        variables: dict[str, Any] = {
            "messages": [as_template_message(message) for message in chat.messages],
            "tools": tools or None,
            "add_generation_prompt": True,
        }
        separator = ""
        if self._control is not None:
            variables, separator = self._control.mark(variables)
        text = self._render(variables, chat)
        tokens = self._encode(text, separator)
        opening = self._opening(variables["messages"], text, tokens) if self._marks_opening else 0
        return PreparedPrompt(tokens, tools, thinking=self._ends_in_thought(text), opening=opening)

    def _encode(self, text: str, separator: str) -> list[int]:
        """Return the tokens of a rendered chat. Raises ContextLengthError."""
        if self._control is None or not separator:
            self._check_size(text, "messages")
            return list(self._tokenizer.encode(text, add_special_tokens=False))
        self._check_size(text.replace(separator, ""), "messages")
        return self._control.encode(text, separator, self._context_length)

    def _source_text(self) -> str | None:
        """Return the text of the model's chat templates, or None where the template is code."""
        if getattr(self._tokenizer, "_chat_template", None) is not None:
            return None
        template = self._tokenizer.chat_template
        return "\n".join(template.values()) if isinstance(template, dict) else template or ""

    def _opening(self, messages: list[dict[str, Any]], text: str, tokens: list[int]) -> int:
        """Return the number of tokens before the first text that is not the system's.

        That text is searched for in the rendered prompt, since a template does not report its position.
        """
        first = next((message["content"].strip() for message in messages if message["role"] != "system"), "")
        start = text.find(first) if first else 0
        before = self._tokenizer.encode(text[: max(start, 0)], add_special_tokens=False)
        # The last token may have merged with the text after it.
        same = (number for number, (a, b) in enumerate(zip(before, tokens, strict=False)) if a != b)
        return next(same, min(len(before), len(tokens)))

    def _render(self, variables: dict[str, Any], chat: Chat) -> str:
        """Return the prompt's text. Raises RequestError and UnsupportedError."""
        if getattr(self._tokenizer, "_chat_template", None) is not None:
            return self._render_by_code(variables, chat.thinking)
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("tool_use" if chat.tools else "default") or template.get("default")
        if not template:
            raise UnsupportedError(
                "this model has no chat template", param="messages", hint="use /v1/completions, or a chat model"
            )
        special = {name: str(value) for name, value in self._tokenizer.special_tokens_map.items()}
        switch = thinking_variables(template, chat.thinking)
        self._progress(self._child.patience)
        return self._child.render(template, special | variables | switch | chat.template_arguments)

    def _render_by_code(self, variables: dict[str, Any], thinking: bool | None) -> str:
        """Return the prompt's text by a template that is Python code of mlx-lm.

        Such a template accepts only these names, and the arguments of calls as text.
        """
        messages = [
            message | {"tool_calls": [_with_text_arguments(call) for call in message["tool_calls"]]}
            if "tool_calls" in message
            else message
            for message in variables["messages"]
        ]
        switch = {} if thinking is None else {"enable_thinking": thinking}
        arguments = {name: value for name, value in variables.items() if name != "messages"} | switch
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **arguments))

    def _ends_in_thought(self, text: str) -> bool:
        start, end = self._tokenizer.think_start, self._tokenizer.think_end
        if not start or not end:
            return False
        tail = text[-TAIL_CHARACTERS:]
        opened = tail.rfind(start)
        return opened >= 0 and tail.rfind(end) < opened and not tail[opened + len(start) :].strip()


def as_function(tool: Tool) -> dict[str, Any]:
    """Return a tool in the form that templates and parsers read."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def as_template_message(message: Message) -> dict[str, Any]:
    """Return the message in the form that templates read.

    The content is text, arguments are objects if they are JSON, and the reasoning has both names of transformers.
    """
    shown: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.reasoning is not None:
        shown["reasoning_content"] = message.reasoning
        if not (message.tool_calls and message.text):  # gpt-oss refuses thinking beside the content of a call
            shown["thinking"] = message.reasoning
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shown["name"] = message.name
    return shown


def _with_text_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    return call | {"function": function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


def markers_of(tokenizer: Any) -> dict[str, Any]:
    """Return the family's markers, as `parse.Markers` takes them."""
    from lmx_daemon.engines.mlx.text.limited_parser import limited  # imports MLX, whose absence is reported later

    has_tools = tokenizer.has_tool_calling
    structural: Sequence[str] = tokenizer.structural_markers or ()
    return {
        "think_start": tokenizer.think_start if tokenizer.has_thinking else None,
        "think_end": tokenizer.think_end if tokenizer.has_thinking else None,
        "tool_start": tokenizer.tool_call_start if has_tools else None,
        "tool_end": tokenizer.tool_call_end if has_tools else None,
        "tool_parser": limited(tokenizer.tool_parser) if has_tools else None,
        "structural": tuple(structural),
        "transitions": tokenizer.response_transitions,
        "initial": tokenizer.response_initial_state or "normal",
    }
