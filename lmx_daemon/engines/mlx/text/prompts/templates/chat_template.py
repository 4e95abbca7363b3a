"""The chat template of a loaded model: its text, its rendering in the killable child, and what it accepts.

A template is Jinja text of the repository, or Python code of mlx-lm. It does not import MLX; prompt thread only.
"""

from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.engines.mlx.text.prompts.templates.template_manners import TemplateManners, turn
from lmx_daemon.engines.mlx.text.prompts.templates.template_messages import with_text_arguments
from lmx_daemon.engines.mlx.text.prompts.thinking import thinking_variables
from lmx_daemon.worker.template_child import TemplateChild


class ChatTemplate:
    """The template that a request is rendered with; a repository may have another one for requests with tools."""

    def __init__(self, tokenizer: Any, child: TemplateChild, progress: Callable[[float], None]) -> None:
        self._tokenizer = tokenizer
        self._child = child
        self._progress = progress
        self._is_code = getattr(tokenizer, "_chat_template", None) is not None
        self._manners: dict[bool, TemplateManners] = {}
        self._switches: dict[bool, bool] = {}

    @property
    def source(self) -> str | None:
        """Text of the model's templates, or None if the template is code."""
        if self._is_code:
            return None
        template = self._tokenizer.chat_template
        return "\n".join(template.values()) if isinstance(template, dict) else template or ""

    def manners(self, tools: bool) -> TemplateManners:
        """Return what the template for requests with or without tools accepts."""
        if tools not in self._manners:
            self._manners[tools] = TemplateManners(lambda messages, given: self._probe(messages, given, tools))
        return self._manners[tools]

    def switches_thinking(self, tools: bool) -> bool:
        """Return whether the request's switch of thinking changes the prompt."""
        if tools not in self._switches:
            variables = {
                "messages": [turn("user", "Zqone")],
                "tools": self.manners(tools).no_tools,
                "add_generation_prompt": True,
            }
            on, off = (self.render(variables, thinking, {}, tools) for thinking in (True, False))
            self._switches[tools] = on != off
        return self._switches[tools]

    def render(self, variables: dict[str, Any], thinking: bool | None, arguments: dict[str, Any], tools: bool) -> str:
        """Return the prompt's text. `arguments` are the request's own variables. Raises RequestError."""
        if self._is_code:
            return self._render_by_code(variables, thinking)
        template = self._text_for(tools)
        special = {name: str(value) for name, value in self._tokenizer.special_tokens_map.items()}
        switch = thinking_variables(template, thinking)
        self._progress(self._child.patience)
        return self._child.render(template, special | variables | switch | arguments)

    def _text_for(self, tools: bool) -> str:
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("tool_use" if tools else "default") or template.get("default")
        if not template:
            raise UnsupportedError(
                "this model has no chat template", param="messages", hint="use /v1/completions, or a chat model"
            )
        return str(template)

    def _probe(self, messages: list[dict[str, Any]], given: list[dict[str, Any]] | None, tools: bool) -> str:
        variables = {"messages": messages, "tools": given, "add_generation_prompt": False}
        return self.render(variables, None, {}, tools)

    def _render_by_code(self, variables: dict[str, Any], thinking: bool | None) -> str:
        """Return the prompt's text by a template that is Python code of mlx-lm.

        Such a template accepts only these names, and the arguments of calls as text.
        """
        switch = {} if thinking is None else {"enable_thinking": thinking}
        arguments = {name: value for name, value in variables.items() if name != "messages"} | switch
        messages = [with_text_arguments(message) for message in variables["messages"]]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **arguments))
        except Exception as error:  # code of mlx-lm, which asserts what it expects
            raise RequestError(f"the model's chat template refused: {error!r}", param="messages") from error
