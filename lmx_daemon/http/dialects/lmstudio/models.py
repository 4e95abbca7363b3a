"""Models in LM Studio's form, exactly: its clients reject a whole list for one entry with another value."""

import re
from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.http.dialects.loaded_context import loaded_context

ALIAS_PUBLISHER = "alias"
"""Publisher in the entry of an alias. It marks the entry without a field or a value that clients do not expect."""
SHORT_TYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
BITS_OF_TYPES = {"bfloat16": 16, "float16": 16, "float32": 32, "mxfp4": 4, "mxfp8": 8, "nvfp4": 4}


def quantization_name(model: Model) -> str:
    """Return the quantization as LM Studio writes it: "4bit", "bf16", "mxfp4"."""
    given = model.quantization or "unknown"
    return SHORT_TYPES.get(given, given.replace("-", ""))


def bits_per_weight(model: Model) -> float | None:
    """Return the bits of a weight; None if the quantization does not state them."""
    given = model.quantization or ""
    match = re.match(r"(\d+(?:\.\d+)?)-?bit", given)
    return float(match[1]) if match else BITS_OF_TYPES.get(given)


def v0_type(model: Model) -> str:
    return "embeddings" if model.embedding else "vlm" if model.vision else "llm"


def publisher(model: Model) -> str:
    return model.id.partition("/")[0] if "/" in model.id else "lmx"


def v0_entry(model: Model, state: str, instances: Sequence[Instance]) -> dict[str, Any]:
    """Return the entry of /api/v0/models."""
    entry: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "type": v0_type(model),
        "publisher": publisher(model),
        "arch": model.architecture or "unknown",
        "compatibility_type": "mlx",
        "quantization": quantization_name(model),
        "state": state,
        "max_context_length": model.context_length or 0,
    }
    if (context := loaded_context(instances, model)) is not None:
        entry["loaded_context_length"] = context
    entry["capabilities"] = ["tool_use"] if model.tools else []
    return entry


def v1_entry(model: Model, instances: Sequence[Instance]) -> dict[str, Any]:
    """Return the entry of /api/v1/models."""
    bits = bits_per_weight(model)
    entry: dict[str, Any] = {
        "type": "embedding" if model.embedding else "llm",
        "publisher": publisher(model),
        "key": model.id,
        "display_name": model.id.rpartition("/")[2],
    }
    if not model.embedding:
        entry["architecture"] = model.architecture
    entry |= {
        "quantization": None if bits is None else {"name": quantization_name(model), "bits_per_weight": bits},
        "size_bytes": model.size,
        "params_string": parameters(model.parameters),
        "loaded_instances": [loaded(instance) for instance in instances if is_loaded(instance, model)],
        "max_context_length": model.context_length or 0,
        "format": "mlx",
    }
    if not model.embedding:
        entry["capabilities"] = capabilities(model)
        entry["description"] = None
    return entry


def v0_alias(name: str, model: Model, state: str, instances: Sequence[Instance]) -> dict[str, Any]:
    """Return the entry of an alias in /api/v0/models: that of its model under another name."""
    return v0_entry(model, state, instances) | {"id": name, "publisher": ALIAS_PUBLISHER}


def v1_alias(name: str, model: Model, instances: Sequence[Instance]) -> dict[str, Any]:
    """Return the entry of an alias in /api/v1/models: that of its model under another name."""
    entry = v1_entry(model, instances) | {"key": name, "display_name": name, "publisher": ALIAS_PUBLISHER}
    return entry | ({"description": f"alias of {model.id}"} if "description" in entry else {})


def is_loaded(instance: Instance, model: Model) -> bool:
    return instance.model == model.id and instance.state == "ready" and instance.capabilities is not None


def loaded(instance: Instance) -> dict[str, Any]:
    """Return the entry of a loaded instance. A model has one instance, and it has the id of the model."""
    context = instance.capabilities.context_length if instance.capabilities else 0
    return {"id": instance.model, "config": {"context_length": context}}


def capabilities(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = {"vision": model.vision, "trained_for_tool_use": model.tools}
    if model.thinking:
        found["reasoning"] = {"allowed_options": ["off", "on"], "default": "on"}
    return found


def parameters(count: int | None) -> str | None:
    """Return a number of parameters: "8B", "1.5B", "135M"."""
    if not count:
        return None
    value, unit = (count / 1e9, "B") if count >= 1e9 else (count / 1e6, "M")
    return f"{value:.1f}".removesuffix(".0") + unit
