"""The abilities of a model, read from its files and never from its name: chat, tools, thinking, vision, embedding.

Once the model is loaded, the engine's own report replaces them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.tool_families import tool_family

VISION_KEYS = ("vision_config", "visual", "image_token_id", "image_token_index", "vision_tower", "mm_vision_tower")
EMBEDDING_FILES = ("modules.json", "config_sentence_transformers.json", "1_Pooling")
HEADS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForImageTextToText")


@dataclass(frozen=True)
class ModelTraits:
    """Abilities of one model."""

    chat: bool
    tools: bool
    tool_parser: str | None
    thinking: bool
    vision: bool
    embedding: bool


def traits_of(config: dict[str, Any], template: str, names: Collection[str]) -> ModelTraits:
    """Return the traits of a model from its config.json, its chat template, and the names of its files."""
    architectures = config.get("architectures")
    heads = [str(name) for name in architectures] if isinstance(architectures, list) else []
    headless = bool(heads) and not any(name.endswith(HEADS) for name in heads)
    return ModelTraits(
        chat=bool(template),
        tools="tools" in template,
        tool_parser=tool_family(template.__contains__) if "tools" in template else None,
        thinking="<think>" in template or "enable_thinking" in template or "reasoning" in template,
        vision=any(config.get(key) is not None for key in VISION_KEYS),
        embedding=any(name in names for name in EMBEDDING_FILES) or (headless and not template),
    )
