"""Configurations of agents that use OpenAI's chat completions: Qwen Code, Continue, goose, Crush, Pi and Zed.

The keys are those of each agent's documentation. The API key is in a variable, and never in a file or an argument.
"""

from pathlib import Path

from lmx_cli.launch.target import AgentTarget, ConfigFile, Places

KEY = "LMX_KEY"
"""Variable with the API key, for agents that let a file name it."""
ZED_KEY = "LMX_API_KEY"
"""Variable that Zed derives from the name of the provider."""
FREE = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}


def qwen_arguments(target: AgentTarget, places: Places) -> list[str]:
    return ["--auth-type", "openai", "--openai-base-url", f"{target.address}/v1", "--model", target.model]


def qwen_environment(target: AgentTarget) -> dict[str, str]:
    return {"OPENAI_API_KEY": target.key, "OPENAI_BASE_URL": f"{target.address}/v1", "OPENAI_MODEL": target.model}


def goose_environment(target: AgentTarget) -> dict[str, str]:
    """Return the variables of goose, which win over its configuration."""
    return {
        "GOOSE_PROVIDER": "openai",
        "GOOSE_MODEL": target.model,
        "GOOSE_CONTEXT_LIMIT": str(target.context),
        "GOOSE_MAX_TOKENS": str(target.output),
        "OPENAI_HOST": target.address,
        "OPENAI_BASE_PATH": "v1/chat/completions",
        "OPENAI_API_KEY": target.key,
    }


def continue_path(places: Places) -> Path:
    """Return the path of a configuration of Continue that only `lmx launch` writes."""
    return places.own / "continue.yaml"


def continue_arguments(target: AgentTarget, places: Places) -> list[str]:
    return ["--config", str(continue_path(places))]


def continue_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    model = {
        "name": target.model,
        "provider": "openai",
        "model": target.model,
        "apiBase": f"{target.address}/v1",
        "apiKey": f"${{{{ secrets.{KEY} }}}}",
        "roles": ["chat", "edit", "apply"],
        "capabilities": ["tool_use", *(["image_input"] if target.images else [])],
        "defaultCompletionOptions": {"contextLength": target.context, "maxTokens": target.output},
    }
    values = {"name": "lmx", "version": "1.0.0", "schema": "v1", "models": [model]}
    return [ConfigFile(continue_path(places), "json", values)]  # JSON is YAML as well


def crush_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    model = {
        "id": target.model,
        "name": target.model,
        "context_window": target.context,
        "default_max_tokens": target.output,
        "supports_attachments": target.images,
    }
    provider = {
        "name": "lmx",
        "type": "openai-compat",
        "base_url": f"{target.address}/v1",
        "api_key": f"${KEY}",
        "models": [model],
    }
    return [ConfigFile(places.config / "crush" / "crush.json", "json", {"providers": {"lmx": provider}})]


def pi_arguments(target: AgentTarget, places: Places) -> list[str]:
    return ["--provider", "lmx", "--model", target.model]


def pi_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    model = {
        "id": target.model,
        "name": target.model,
        "reasoning": False,
        "input": ["text", *(["image"] if target.images else [])],
        "contextWindow": target.context,
        "maxTokens": target.output,
        "cost": FREE,
    }
    provider = {"baseUrl": f"{target.address}/v1", "api": "openai-completions", "apiKey": KEY, "models": [model]}
    folder = places.variables.get("PI_CODING_AGENT_DIR")
    path = (places.user / (folder or ".pi/agent")) / "models.json"
    return [ConfigFile(path, "json", {"providers": {"lmx": provider}})]


def zed_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    """Return Zed's settings, in the same folder on macOS and Linux. Zed derives the key's variable from "lmx"."""
    model = {
        "name": target.model,
        "display_name": target.model,
        "max_tokens": target.context,
        "max_output_tokens": target.output,
        "capabilities": {"tools": True, "images": target.images, "parallel_tool_calls": True},
    }
    provider = {"api_url": f"{target.address}/v1", "available_models": [model]}
    values = {"language_models": {"openai_compatible": {"lmx": provider}}}
    return [ConfigFile(places.config / "zed" / "settings.json", "json", values)]
