"""Building of a request's prompt: the template renders in a killable child, the text is tokenised here.

It does not import MLX. It runs on the prompt thread, so that a slow template or a long prompt delays no step.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from lmx_daemon.contract.errors import ContextLengthError, RequestError, UnsupportedError, prompt_too_long
from lmx_daemon.contract.generation.constraint import Constraint, JsonSchema
from lmx_daemon.contract.generation.requests import Chat, ImagePart, Infill, Overflow, Prompt, Text, Tokens
from lmx_daemon.engines.mlx.grammar.rules import lark_of
from lmx_daemon.engines.mlx.grammar.source import AnswerGrammar
from lmx_daemon.engines.mlx.text.answer_rules import answer_rule
from lmx_daemon.engines.mlx.text.families.choose import family_of
from lmx_daemon.engines.mlx.text.prompts import overflow
from lmx_daemon.engines.mlx.text.prompts.continuation import cut, opened
from lmx_daemon.engines.mlx.text.prompts.control_tokens import ControlTokens, control_ids, template_text
from lmx_daemon.engines.mlx.text.prompts.conversation import adapted
from lmx_daemon.engines.mlx.text.prompts.encoded_heads import EncodedHeads
from lmx_daemon.engines.mlx.text.prompts.infill import infill_tokens
from lmx_daemon.engines.mlx.text.prompts.options import option_tokens
from lmx_daemon.engines.mlx.text.prompts.templates.chat_template import ChatTemplate
from lmx_daemon.engines.mlx.text.prompts.templates.end_of_turn import end_tokens
from lmx_daemon.engines.mlx.text.prompts.templates.template_messages import (
    as_function,
    as_template_message,
    first_content,
    in_call_form,
    with_descriptions,
)
from lmx_daemon.engines.mlx.text.prompts.thinking import ends_in_thought
from lmx_daemon.worker.template_child import TemplateChild

SLICE_CHARACTERS = 256 * 1024
SLICE_SLACK = 256
PATIENCE = 4.0
"""Allowed factor between tokenising a whole text and tokenising its slices."""
PROBE = "The quick brown fox jumps over 13 lazy dogs.\n\n  caf\u00e9 \u65e5\u672c\u8a9e"
"""Text whose tokens show whether the tokenizer works."""


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt, ready for the batch."""

    tokens: list[int]
    tools: list[dict[str, Any]]
    thinking: bool = False
    """Whether the prompt ends inside an open thinking block."""
    opening: int = 0
    """Number of tokens before the conversation itself; other conversations may begin with the same."""
    stop_tokens: frozenset[int] = frozenset()
    """Tokens with which the template ends a turn."""
    continues: bool = False
    """Whether the answer continues a message of the prompt, so that its first space counts."""
    truncated: int = 0
    """Number of tokens that were left out because the prompt exceeded the context."""
    raw: bool = False
    """Whether the prompt is a completion: its answer is plain text without markers."""
    options: tuple[tuple[int, ...], ...] = ()
    """Tokens of the options of a decision."""


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
        self._progress = progress
        self._probe = self._tokenizer.encode(PROBE)
        self._family = family_of(tokenizer)
        self._heads = EncodedHeads(tokenizer)
        self._template = ChatTemplate(tokenizer, child, progress)
        self._control_ids = control_ids(tokenizer, template_text(tokenizer), vocabulary)
        self._control = ControlTokens(tokenizer, self._template.source) if sanitize else None

    def works(self) -> bool:
        """Return whether the tokenizer still returns the tokens that it returned at the load."""
        try:
            return bool(self._tokenizer.encode(PROBE) == self._probe)
        except BaseException:  # the same tokenizer may fail here too
            return False

    def build(
        self, prompt: Prompt, policy: Overflow = "error", max_tokens: int | None = None, asked: int | None = None
    ) -> PreparedPrompt:
        """Return the tokens of a prompt, shortened by `policy` if there are too many for the context.

        The context is the model's, or `asked` if that is smaller. A shortened prompt leaves room for an answer of
        `max_tokens`. Raises RequestError, ContextLengthError or UnsupportedError.
        """
        context = min(self._context_length, asked or self._context_length)
        most = self._context_length * (1 if policy == "error" else overflow.LONGEST)
        prepared = self._built(prompt, most)
        count = len(prepared.tokens)
        if count < context:
            return prepared
        if policy == "error" or isinstance(prompt, Infill):
            raise prompt_too_long(count, context, _param(prompt))
        if count > most:
            because = f"a prompt of more than {overflow.LONGEST} times the context is not shortened"
            raise prompt_too_long(count, context, _param(prompt), because=because)
        most = context - overflow.room_for_answer(context, max_tokens)
        if policy == "rolling" and isinstance(prompt, Chat):
            shortened = self._rolled(prompt, most, count, context)
        else:
            cut_tokens = overflow.without_middle if policy == "truncate_middle" else overflow.without_oldest_tokens
            shortened = replace(prepared, tokens=cut_tokens(prepared.tokens, most), opening=0)
        return replace(shortened, truncated=count - len(shortened.tokens))

    def count(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, which may exceed the context.

        Raises what `build` raises, ContextLengthError only far above the context.
        """
        return len(self._built(prompt, max(self._context_length * overflow.LONGEST, overflow.MOST_COUNTED)).tokens)

    def _rolled(self, chat: Chat, most: int, count: int, context: int) -> PreparedPrompt:
        """Return at most `most` of the prompt's `count` tokens, without old messages. Raises ContextLengthError."""
        built: dict[int, PreparedPrompt] = {}

        def fits(start: int) -> bool:
            messages = overflow.without_oldest(chat.messages, start)
            try:
                built[start] = self._built(msgspec.structs.replace(chat, messages=messages), most)
            except ContextLengthError:
                return False
            return len(built[start].tokens) <= most

        start = overflow.first_kept(chat.messages, context, fits)
        if start is None:
            because = "the last message and the system messages alone are too long"
            raise prompt_too_long(count, context, "messages", because=because)
        return built[start]

    def _built(self, prompt: Prompt, most: int) -> PreparedPrompt:
        """Return the tokens of a prompt. Above `most` tokens, it may raise ContextLengthError or return a part only."""
        match prompt:
            case Chat():
                prepared = self._chat(prompt, most)
            case Text(text=text):
                self._check_size(text, "prompt", most)
                prepared = PreparedPrompt(list(self._tokenizer.encode(text)), [], raw=True)
            case Infill():
                self._check_size(prompt.prefix + prompt.suffix, "prompt", most)
                tokens, ends = infill_tokens(prompt, self._tokenizer)
                prepared = PreparedPrompt(tokens, [], stop_tokens=ends, raw=True)
            case Tokens(ids=ids):
                for token in ids:
                    if not 0 <= token < self._vocabulary:
                        raise RequestError(
                            f"token {token} does not exist; this model has 0 to {self._vocabulary - 1}", param="prompt"
                        )
                prepared = PreparedPrompt(list(ids), [], raw=True)
        if not prepared.tokens:
            raise RequestError("the prompt is empty", param=_param(prompt))
        return prepared

    def answer_grammars(self, chat: Chat, constraint: Constraint | None) -> tuple[AnswerGrammar, ...]:
        """Return the grammars of the whole answer, each to be used if the one before it cannot be compiled.

        There are none where `constraint` alone is enough. Raises RequestError and UnsupportedError.
        """
        found = answer_rule(chat, constraint, self._family)
        if found is None:
            return ()
        param = "tools" if constraint is None else constraint.param
        bounds_numbers = constraint is None or isinstance(constraint, JsonSchema)
        return tuple(
            AnswerGrammar(lark_of(rule, self._control_ids), param, found.whole, bounds_numbers)
            for rule in (found.rule, found.relaxed)
            if rule is not None
        )

    def options(self, texts: Sequence[str], prepared: PreparedPrompt) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of the options of a decision after a prompt. Raises RequestError or UnsupportedError."""
        if not prepared.raw and self._family.opening is not None:
            raise UnsupportedError(
                "decisions: answers of this model's family begin with a header, so that no option follows its prompt"
            )
        ends = prepared.stop_tokens or frozenset(self._tokenizer.eos_token_ids)
        return option_tokens(texts, lambda text: self._tokenizer.encode(text, add_special_tokens=False), ends)

    def _check_size(self, text: str, param: str, most: int) -> None:
        """Raise ContextLengthError for a text of more than `most` tokens, without tokenising all of it.

        Tokenising all would delay every other prompt by minutes. Cutting adds a few tokens at each edge; the slack
        allows for them.
        """
        counted, begun = 0, time.monotonic()
        for start in range(0, len(text), SLICE_CHARACTERS) if len(text) > SLICE_CHARACTERS else ():
            counted += len(self._tokenizer.encode(text[start : start + SLICE_CHARACTERS], add_special_tokens=False))
            counted -= SLICE_SLACK
            self._progress(0.0)
            if counted > most:
                raise prompt_too_long(counted, self._context_length, param, because="counted in part")
        self._progress(PATIENCE * (time.monotonic() - begun))  # the whole text, in one call

    def _chat(self, chat: Chat, most: int) -> PreparedPrompt:
        for position, message in enumerate(chat.messages):
            if any(isinstance(part, ImagePart) for part in message.content):
                raise UnsupportedError("this model does not accept images", param=f"messages[{position}].content")
        manners = self._template.manners(bool(chat.tools))
        messages = adapted(chat.messages, chat.tools, manners)
        shown = [as_template_message(message) for message in messages]
        if any("tool_calls" in message for message in shown) and manners.call_form is not None:
            shown = [in_call_form(message, manners.call_form) for message in shown]
        if chat.continue_last:
            shown = [*shown[:-1], opened(shown[-1])]
        tools = [as_function(tool) for tool in chat.tools]
        rendered = tools if not tools or manners.bare_parameters else [with_descriptions(tool) for tool in tools]
        variables: dict[str, Any] = {
            "messages": shown,
            "tools": rendered if tools and manners.declares_tools else manners.no_tools,
            "add_generation_prompt": not chat.continue_last,
        }
        separator = ""
        if self._control is not None:
            variables, separator = self._control.mark(variables)
        text = self._template.render(variables, chat.thinking, chat.template_arguments, bool(tools))
        thinking = False
        if chat.continue_last:
            text, thinking = cut(text, shown[-1], *self._think)
        else:
            text, thinking = self._with_thinking(text, chat)
        tokens = self._encode(text, separator, most, first_content(variables["messages"]))
        opening = self._opening(variables["messages"], text, tokens) if self._marks_opening else 0
        ends = end_tokens(manners.after_answer, self._tokenizer, self._family)
        return PreparedPrompt(
            tokens, tools, thinking=thinking, opening=opening, continues=chat.continue_last, stop_tokens=ends
        )

    @property
    def _think(self) -> tuple[str | None, str | None]:
        return self._family.think or (None, None)

    def _with_thinking(self, text: str, chat: Chat) -> tuple[str, bool]:
        """Return the prompt and whether its answer begins in a thinking block.

        Where thinking is off and the template has no switch, the prompt contains an empty thinking block.
        """
        start, end = self._think
        opened = ends_in_thought(text, start, end)
        if chat.thinking is not False or not start or not end:
            return text, opened
        if opened:
            return f"{text.rstrip()}\n\n{end}\n\n", False
        if end in (self._template.source or "") and not self._template.switches_thinking(bool(chat.tools)):
            return f"{text}{start}\n\n{end}\n\n", False
        return text, False

    def _encode(self, text: str, separator: str, most: int, first: str) -> list[int]:
        """Return the tokens of a rendered chat, whose first text that is not the system's is `first`.

        Raises ContextLengthError.
        """
        if self._control is None or not separator:
            self._check_size(text, "messages", most)
            return self._heads.encode(text, text.find(first) if first else 0)
        self._check_size(text.replace(separator, ""), "messages", most)
        return self._control.encode(text, separator, most)

    def _opening(self, messages: list[dict[str, Any]], text: str, tokens: list[int]) -> int:
        """Return the number of tokens before the first text that is not the system's.

        That text is searched for in the rendered prompt, since a template does not report its position.
        """
        start = text.find(first_content(messages))  # 0 without a content
        before = self._tokenizer.encode(text[: max(start, 0)], add_special_tokens=False)
        # The last token may have merged with the text after it.
        same = (number for number, (a, b) in enumerate(zip(before, tokens, strict=False)) if a != b)
        return next(same, min(len(before), len(tokens)))


def _param(prompt: Prompt) -> str:
    return "messages" if isinstance(prompt, Chat) else "prompt"
