"""The bodies of the OpenAI routes as clients send them. requests.py translates them.

Fields that are not named here are ignored, so that clients of newer versions work; a wrong type is an error.
"""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.generation.requests import Overflow, Penalty, Probability, Seconds

MAX_TOOLS = 512
MAX_MESSAGES = 10_000
MAX_PARTS = 50_000
"""Limit on the content parts, and on the tool calls, of all messages together."""
MAX_TOKEN = 2**31 - 1
"""Largest token id, above any vocabulary. A number that no frame can carry is refused here, by its field."""
MAX_COUNT = 2**53

TokenId = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN)]
MaxTokens = Annotated[int, msgspec.Meta(ge=-1, le=MAX_COUNT)]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of both routes."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    stream: bool | None = None
    stream_options: "StreamOptions | None" = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=-1, le=MAX_TOKEN)] | None = None
    min_p: Probability | None = None
    max_tokens: MaxTokens | None = None
    stop: str | list[str] | None = None
    stop_token_ids: Annotated[list[TokenId], msgspec.Meta(max_length=64)] | None = None
    """Token ids that end an answer, in addition to the model's own. The name is vLLM's."""
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    logit_bias: dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None
    guided_regex: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    guided_choice: Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)] | None = None
    guided_grammar: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """Constraints on the text of the answer, by the names that vLLM uses. The grammar is in Lark's notation."""
    n: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    user: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    """End user. It is a part of every request frame, so its length is bounded."""
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None
    keep_alive: float | str | None = None
    """The same in Ollama's form: seconds, "5m" or "24h"; a negative value means never."""
    deadline: Seconds | None = None
    queue_deadline: Seconds | None = None
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None
    cache_namespace: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    """Four additions of lmx; contract/generation/requests.py defines them."""
    overflow: Overflow | None = None
    """Treatment of a prompt above the context, an addition of lmx; absent, such a prompt is an error."""
    preset: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    """Preset for fields that the request does not set; an addition of lmx."""
    cache_on_disk: bool | None = None
    """False keeps the prompt and its answer in memory only, apart from prompts that may be written to disk."""


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class FunctionBody(msgspec.Struct, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(msgspec.Struct, frozen=True):
    function: FunctionBody
    type: Literal["function"] = "function"


class CalledFunction(msgspec.Struct, frozen=True):
    name: str
    arguments: str | dict[str, Any] = ""


class ToolCallBody(msgspec.Struct, frozen=True):
    function: CalledFunction
    id: str = ""
    type: Literal["function"] = "function"


class ImageBody(msgspec.Struct, frozen=True):
    url: str


class PartBody(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageBody | str | None = None


class MessageBody(msgspec.Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartBody] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    """Old form of `tool_calls`."""
    reasoning_content: str | None = None
    reasoning: str | None = None
    """Another name of `reasoning_content`, which some clients send back."""


class SchemaBody(msgspec.Struct, frozen=True):
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    """Every schema is enforced, strict or not."""


class ResponseFormat(msgspec.Struct, frozen=True):
    type: str
    json_schema: SchemaBody | None = None


class ReasoningBody(msgspec.Struct, frozen=True):
    """The settings of thinking in OpenRouter's form."""

    effort: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class ChatBody(Body, frozen=True, kw_only=True):
    messages: Annotated[list[MessageBody], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: MaxTokens | None = None
    tools: Annotated[list[ToolBody], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionBody], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    function_call: str | dict[str, Any] | None = None
    """Old forms of `tools` and `tool_choice`."""
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningBody | None = None
    include_reasoning: bool | None = None
    """Whether the answer has its reasoning. True adds it under the name `reasoning`, too."""
    thinking_budget: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None = None
    continue_final_message: bool | None = None
    """False begins a new message after a last one of the assistant, which is continued otherwise. Named as in vLLM."""
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionBody(Body, frozen=True, kw_only=True):
    prompt: str | list[str | TokenId | list[TokenId]]
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    prompt_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """Number of alternatives at each token of the prompt, an addition that vLLM has."""
    best_of: int | None = None
    suffix: str | None = None
