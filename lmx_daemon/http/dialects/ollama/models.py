"""Models in Ollama's form: entries of /api/tags and /api/ps, and the answer of /api/show."""

import hashlib
from typing import Any

from lmx_daemon.contract.admin.library.files import Details
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.http.dialects.timestamps import timestamp

FORMAT = "safetensors"
NEVER = "2318-01-01T00:00:00Z"
"""Time of the unload of a model that is never unloaded; Ollama's clients expect a far date."""


def digest(model: Model) -> str:
    """Return 64 hexadecimal digits that identify a revision of a model. They are not a hash of its files."""
    return hashlib.sha256(f"{model.id}@{model.revision or model.modified_at}".encode()).hexdigest()


def details(model: Model) -> dict[str, Any]:
    family = model.architecture or "unknown"
    return {
        "parent_model": "",
        "format": FORMAT,
        "family": family,
        "families": [family],
        "parameter_size": parameter_size(model.parameters),
        "quantization_level": model.quantization or "",
    }


def parameter_size(parameters: int | None) -> str:
    """Return a number of parameters as Ollama writes it: "8.0B", "135.0M"; "" if it is unknown."""
    if not parameters:
        return ""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"


def tag(model: Model) -> dict[str, Any]:
    """Return the entry of an installed model."""
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": timestamp(model.modified_at),
        "size": model.size,
        "digest": digest(model),
        "details": details(model),
    }


def alias_tag(name: str, model: Model) -> dict[str, Any]:
    """Return the entry of an alias: that of its model, which is named as its parent."""
    entry = tag(model)
    return entry | {"name": name, "model": name, "details": entry["details"] | {"parent_model": model.id}}


def running(instance: Instance, model: Model) -> dict[str, Any]:
    """Return the entry of a model in memory."""
    context = instance.capabilities.context_length if instance.capabilities else model.context_length
    return {
        "name": model.id,
        "model": model.id,
        "size": instance.held,
        "digest": digest(model),
        "details": details(model),
        "expires_at": timestamp(instance.expires_at) if instance.expires_at else NEVER,
        "size_vram": instance.held,
        "context_length": context or 0,
    }


def shown(found: Details) -> dict[str, Any]:
    """Return the answer of /api/show."""
    model = found.model
    architecture = model.architecture or "unknown"
    return {
        "modelfile": f"FROM {model.id}\n",
        "parameters": "",
        "template": found.template,
        "license": model.license or "",
        "details": details(model),
        "model_info": {
            "general.architecture": architecture,
            "general.basename": model.id.rpartition("/")[2],
            "general.parameter_count": model.parameters or 0,
            f"{architecture}.context_length": model.context_length or 0,
        },
        "capabilities": capabilities(model),
        "modified_at": timestamp(model.modified_at),
    }


def capabilities(model: Model) -> list[str]:
    has = {"completion": not model.embedding, "tools": model.tools, "thinking": model.thinking, "vision": model.vision}
    return [name for name, present in (has | {"embedding": model.embedding}).items() if present]
