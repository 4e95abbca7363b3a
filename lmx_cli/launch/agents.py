"""The agents that `lmx launch` starts. docs/agents.md has the same configurations for other ways to start them.

A file has the provider with its limits. The choice of the model is in arguments and variables, so that an agent that is
started without lmx uses what it used before.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lmx_cli.launch import openai_agents
from lmx_cli.launch.target import AgentTarget, ConfigFile, Places

AgentRoute = Literal["/v1/messages", "/v1/responses", "/v1/chat/completions"]
SHORTEST_WINDOW = 100_000
"""Smallest CLAUDE_CODE_AUTO_COMPACT_WINDOW that Claude Code accepts."""
TIMEOUT_MS = 3_600_000


@dataclass(frozen=True)
class Agent:
    """A coding agent. `program` is its name on PATH, `route` the one to which it sends its requests."""

    name: str
    program: str
    route: AgentRoute
    install: str
    """Command that installs it."""
    minimum: int
    """Shortest usable context in tokens: the prompt before the first question, and as much again for the work."""
    tools: bool = True
    """Whether the model has to call tools."""
    arguments: Callable[[AgentTarget, Places], list[str]] = lambda target, places: []
    environment: Callable[[AgentTarget], dict[str, str]] = field(default=lambda target: {"LMX_KEY": target.key})
    files: Callable[[AgentTarget, Places], list[ConfigFile]] = lambda target, places: []


def claude_environment(target: AgentTarget) -> dict[str, str]:
    """Return the variables of Claude Code. All its models are the target's, and no other key is used."""
    models = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    switches = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER")
    return {
        "ANTHROPIC_BASE_URL": target.address,
        "ANTHROPIC_AUTH_TOKEN": target.key,
        "ANTHROPIC_API_KEY": "",
        **{f"ANTHROPIC_{name}": target.model for name in models},
        "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(target.context),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(target.output),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(SHORTEST_WINDOW, target.context)),
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "API_TIMEOUT_MS": str(TIMEOUT_MS),
        "API_FORCE_IDLE_TIMEOUT": "0",
        **dict.fromkeys(switches, "1"),
    }


def codex_arguments(target: AgentTarget, places: Places) -> list[str]:
    """Return the overrides of Codex's configuration, each a TOML value."""
    values = {
        "model": json.dumps(target.model),
        "model_provider": '"lmx"',
        "model_context_window": str(target.context),
        "model_auto_compact_token_limit": str(target.compaction),
    }
    return [argument for name, value in values.items() for argument in ("-c", f"{name}={value}")]


def codex_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    folder = places.variables.get("CODEX_HOME")
    path = (places.user / (folder or ".codex")) / "config.toml"
    provider = {"name": "lmx", "base_url": f"{target.address}/v1", "env_key": "LMX_KEY", "wire_api": "responses"}
    return [ConfigFile(path, "toml", {"model_providers": {"lmx": provider}})]


def opencode_environment(target: AgentTarget) -> dict[str, str]:
    """Return the variables of opencode: the key, and the choice of the model as a configuration of this run."""
    name = f"lmx/{target.model}"
    return {"LMX_KEY": target.key, "OPENCODE_CONFIG_CONTENT": json.dumps({"model": name, "small_model": name})}


def opencode_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    limit = {"context": target.context, "output": target.output}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "lmx",
        "options": {"baseURL": f"{target.address}/v1", "apiKey": "{env:LMX_KEY}"},
        "models": {target.model: {"name": target.model, "limit": limit}},
    }
    path = places.config / "opencode" / "opencode.json"
    return [ConfigFile(path, "json", {"provider": {"lmx": provider}})]


def aider_arguments(target: AgentTarget, places: Places) -> list[str]:
    """Return the options of aider: as arguments, since aider reads a .env file over the environment."""
    return [
        *("--model", f"openai/{target.model}", "--openai-api-base", f"{target.address}/v1"),
        *("--model-metadata-file", str(places.own / "aider.json"), "--no-show-model-warnings"),
    ]


def aider_files(target: AgentTarget, places: Places) -> list[ConfigFile]:
    limits = {
        "max_tokens": target.output,
        "max_input_tokens": target.context,
        "max_output_tokens": target.output,
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
        "litellm_provider": "openai",
        "mode": "chat",
        "supports_vision": target.images,
    }
    return [ConfigFile(places.own / "aider.json", "json", {f"openai/{target.model}": limits})]


AGENTS: Mapping[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent(
            "claude",
            "claude",
            "/v1/messages",
            "npm install -g @anthropic-ai/claude-code",
            49_152,
            environment=claude_environment,
        ),
        Agent(
            "codex",
            "codex",
            "/v1/responses",
            "npm install -g @openai/codex",
            24_576,
            arguments=codex_arguments,
            files=codex_files,
        ),
        Agent(
            "opencode",
            "opencode",
            "/v1/chat/completions",
            "npm install -g opencode-ai",
            24_576,
            environment=opencode_environment,
            files=opencode_files,
        ),
        Agent(
            "aider",
            "aider",
            "/v1/chat/completions",
            "uv tool install aider-chat",
            8_192,
            tools=False,
            arguments=aider_arguments,
            environment=lambda target: {"AIDER_OPENAI_API_KEY": target.key},
            files=aider_files,
        ),
        Agent(
            "qwen",
            "qwen",
            "/v1/chat/completions",
            "npm install -g @qwen-code/qwen-code",
            24_576,
            arguments=openai_agents.qwen_arguments,
            environment=openai_agents.qwen_environment,
        ),
        Agent(
            "continue",
            "cn",
            "/v1/chat/completions",
            "npm install -g @continuedev/cli",
            16_384,
            arguments=openai_agents.continue_arguments,
            files=openai_agents.continue_files,
        ),
        Agent(
            "goose",
            "goose",
            "/v1/chat/completions",
            "brew install block-goose-cli",
            16_384,
            environment=openai_agents.goose_environment,
        ),
        Agent(
            "crush",
            "crush",
            "/v1/chat/completions",
            "npm install -g @charmland/crush",
            24_576,
            files=openai_agents.crush_files,
        ),
        Agent(
            "pi",
            "pi",
            "/v1/chat/completions",
            "npm install -g @mariozechner/pi-coding-agent",
            8_192,
            arguments=openai_agents.pi_arguments,
            files=openai_agents.pi_files,
        ),
        Agent(
            "zed",
            "zed",
            "/v1/chat/completions",
            "brew install --cask zed",
            16_384,
            environment=lambda target: {openai_agents.ZED_KEY: target.key},
            files=openai_agents.zed_files,
        ),
    )
}
