"""The tables [models."ORG/NAME"]: how one model is loaded, and the defaults of requests for it."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.settings.sections.section import Natural, Positive, Section, hot

UNSUPPORTED = {
    "adapter": "this version of lmx loads no adapters",
    "draft_model": "this version of lmx has no speculative decoding with a draft model",
    "kv_bits": "this version of lmx does not quantise keys and values",
}
"""Key that other programs have -> the reason why lmx refuses it."""
RESERVED = ("messages", "tools", "add_generation_prompt", "enable_thinking")
"""Variables of chat templates that lmx sets by itself."""
TokenLimit = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Switch = str | bool | int | float
Probability01 = Annotated[float, Meta(ge=0.0, le=1.0)]
PenaltyRange = Annotated[float, Meta(ge=-2.0, le=2.0)]


def check_template(arguments: dict[str, Switch]) -> None:
    """Raise ValueError for a variable that lmx sets by itself, or that no template can have."""
    for name in arguments:
        if name in RESERVED or name.endswith("_token"):
            thinking = "; use the key thinking" if name == "enable_thinking" else ""
            raise ValueError(f"{name!r} cannot be set, since lmx sets it itself{thinking}")
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot be a variable of a template")


class ModelSettings(Section, frozen=True):
    """Table [models."ORG/NAME"]. A key that is unset changes nothing."""

    context: Annotated[
        TokenLimit | None,
        hot(
            "Context length in tokens, for which memory is reserved. `lmx load --context` wins. Applies to the next "
            "load."
        ),
    ] = None
    parallel: Annotated[
        TokenLimit | None,
        hot(
            "Number of sequences decoded together. Memory for all of them at full length is reserved. `lmx load "
            "--slots` wins. Applies to the next load."
        ),
    ] = None
    ttl: Annotated[
        Annotated[float, Meta(ge=-1, le=1e9)] | None,
        hot("Time in seconds without use after which the model is unloaded; -1 is never. Applies to the next load."),
    ] = None
    pin: Annotated[
        bool | None,
        hot("Whether the model stays in memory when another one needs the room. Applies to the next load."),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0.0, le=2.0)] | None, hot("Temperature; 0 takes the likeliest token.")
    ] = None
    top_p: Annotated[Probability01 | None, hot("Probability mass of the likeliest tokens that are kept.")] = None
    top_k: Annotated[Natural | None, hot("Number of likeliest tokens that are kept; 0 keeps all.")] = None
    min_p: Annotated[
        Probability01 | None,
        hot("Probability below which tokens are left out, as a share of that of the likeliest one."),
    ] = None
    repetition_penalty: Annotated[
        Annotated[float, Meta(ge=0.01, le=10.0)] | None, hot("Multiplicative penalty on repeated tokens; 1 is off.")
    ] = None
    presence_penalty: Annotated[PenaltyRange | None, hot("Penalty on tokens that have occurred; 0 is off.")] = None
    frequency_penalty: Annotated[
        PenaltyRange | None, hot("Penalty on tokens by the number of their occurrences; 0 is off.")
    ] = None
    max_tokens: Annotated[Positive | None, hot("Maximum number of tokens of an answer.")] = None
    thinking: Annotated[bool | None, hot("Whether the model thinks before its answer, if it can do both.")] = None
    thinking_budget: Annotated[Natural | None, hot("Maximum number of tokens of thinking.")] = None
    template: Annotated[
        dict[str, Switch],
        hot('Variables of the chat template, such as { reasoning_effort = "low" }.', check=check_template),
    ] = {}
