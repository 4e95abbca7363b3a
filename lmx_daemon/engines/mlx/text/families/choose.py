"""Choice of a model's family by its files: the texts of its chat template and of its added tokens.

mlx-lm's own choice is the fallback. A model whose template has no tools gets them described in Hermes' form.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from lmx_daemon.contract.tool_families import tool_family
from lmx_daemon.contract.worker.messages import Capabilities
from lmx_daemon.engines.mlx.text.families.apertus import APERTUS
from lmx_daemon.engines.mlx.text.families.command_r import COMMAND_R, COMMAND_R_PLUS
from lmx_daemon.engines.mlx.text.families.deepseek import DEEPSEEK
from lmx_daemon.engines.mlx.text.families.family import Family
from lmx_daemon.engines.mlx.text.families.from_mlx_lm import from_mlx_lm
from lmx_daemon.engines.mlx.text.families.gemma import FUNCTION_GEMMA, GEMMA4
from lmx_daemon.engines.mlx.text.families.glm import GLM, LONGCAT
from lmx_daemon.engines.mlx.text.families.harmony import HARMONY
from lmx_daemon.engines.mlx.text.families.hermes import CALLS, HERMES, SYNTAX
from lmx_daemon.engines.mlx.text.families.invokes import DEEPSEEK_DSML, MINIMAX_M2
from lmx_daemon.engines.mlx.text.families.json_lists import APRIEL, FIREFUNCTION, GRANITE, NEMOTRON, PHI4, XLAM
from lmx_daemon.engines.mlx.text.families.kimi_k2 import KIMI_K2
from lmx_daemon.engines.mlx.text.families.kimi_k3 import KIMI_K3
from lmx_daemon.engines.mlx.text.families.llama3 import LLAMA3
from lmx_daemon.engines.mlx.text.families.minicpm5 import MINICPM5
from lmx_daemon.engines.mlx.text.families.mistral import MISTRAL
from lmx_daemon.engines.mlx.text.families.muse_spark import MUSE_SPARK
from lmx_daemon.engines.mlx.text.families.named import FUNCTIONARY_31, FUNCTIONARY_32
from lmx_daemon.engines.mlx.text.families.pythonic import LFM2
from lmx_daemon.engines.mlx.text.families.qwen3_coder import QWEN3_CODER, SEED
from lmx_daemon.engines.mlx.text.prompts.control_tokens import template_text

DESCRIBED = replace(HERMES, name="described")
"""Models that were not trained for tools."""
THINK = ("<think>", "</think>")
Texts = Callable[[str], bool]
"""Answers whether a text is in the template, or is an added token."""
FAMILIES = (
    MUSE_SPARK,
    HARMONY,
    DEEPSEEK_DSML,
    DEEPSEEK,
    MINIMAX_M2,
    GEMMA4,
    FUNCTION_GEMMA,
    LONGCAT,
    GLM,
    SEED,
    QWEN3_CODER,
    KIMI_K2,
    KIMI_K3,
    MINICPM5,
    MISTRAL,
    APERTUS,
    COMMAND_R,
    COMMAND_R_PLUS,
    LFM2,
    NEMOTRON,
    APRIEL,
    FUNCTIONARY_32,
    FUNCTIONARY_31,
    FIREFUNCTION,
    PHI4,
    GRANITE,
    HERMES,
    LLAMA3,
)
"""Families that texts in the files decide; contract/tool_families.py has the texts."""
BY_NAME = {family.name: family for family in FAMILIES}
NAMED = {"laguna": GLM, "deepseek_v32": DEEPSEEK_DSML}
"""Families by the settings of mlx-lm in tokenizer_config.json, if they are not found by texts."""


def family_of(tokenizer: Any) -> Family:
    """Return the family of a tokenizer as mlx-lm wraps it, with the markers of thinking that the model has."""
    template = template_text(tokenizer)
    added = added_tokens(tokenizer)

    def known(text: str) -> bool:
        return text in template or text in added

    family = (
        _named(tokenizer) or _found(known) or _of_parser(tokenizer) or from_mlx_lm(tokenizer) or _unmarked(template)
    )
    if "tools" not in template and CALLS.start not in {envelope.start for envelope in family.envelopes}:
        family = replace(family, envelopes=(*family.envelopes, CALLS), syntaxes=(SYNTAX,))  # the tools are described
    syntaxes = tuple(syntax for syntax in family.syntaxes if syntax.shown_by(known) or not syntax.start)
    return replace(family, think=_think(tokenizer, family, known, template), syntaxes=syntaxes or family.syntaxes[:1])


def with_family(capabilities: Capabilities, tokenizer: Any) -> Capabilities:
    """Return the capabilities of a model with those that its family decides: tools and thinking."""
    family = family_of(tokenizer)
    trained = family.name != DESCRIBED.name
    return msgspec.structs.replace(
        capabilities,
        tools=trained,
        tool_parser=family.name if trained else None,
        thinking=family.think is not None or family.thought is not None,
    )


def added_tokens(tokenizer: Any) -> set[str]:
    """Return the texts of the tokenizer's added tokens."""
    return {token.content for token in tokenizer.added_tokens_decoder.values()}


def _named(tokenizer: Any) -> Family | None:
    code = getattr(getattr(tokenizer, "_chat_template", None), "__module__", None) or ""
    names = (code.rpartition(".")[2], _settings(tokenizer).get("tool_parser_type"))
    return next((NAMED[name] for name in names if name in NAMED), None)


def _of_parser(tokenizer: Any) -> Family | None:
    """Return the family whose calls the parser of mlx-lm reads that tokenizer_config.json names."""
    return BY_NAME.get(str(_settings(tokenizer).get("tool_parser_type")))


def _settings(tokenizer: Any) -> dict[str, Any]:
    return getattr(tokenizer, "init_kwargs", None) or {}


def _found(known: Texts) -> Family | None:
    name = tool_family(known)
    return None if name is None else BY_NAME[name]


def _unmarked(template: str) -> Family:
    return XLAM if "tools" in template else DESCRIBED


def _think(tokenizer: Any, family: Family, known: Texts, template: str) -> tuple[str, str] | None:
    start, end = getattr(tokenizer, "think_start", None), getattr(tokenizer, "think_end", None)
    if start and end:
        return start, end
    choices: Iterable[tuple[str, str] | None] = (family.think, THINK if THINK[1] in template else None)
    return next((each for each in choices if each is not None and all(map(known, each))), None)
