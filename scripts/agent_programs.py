"""Coding agents for scripts/agents.py: how each is installed, configured and started, and the shell tool it offers.

Updates and telemetry are off. The configurations are those of docs/agents.md.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CONTEXT = 131_072


@dataclass(frozen=True)
class Place:
    """The daemon and the model that an agent uses, and its home."""

    address: str
    model: str
    home: Path

    def write(self, path: str, content: str) -> None:
        """Write a file below the home."""
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        (self.home / path).write_text(content)


@dataclass(frozen=True)
class Agent:
    """One agent. `program` is its executable in the folder of the installation."""

    name: str
    package: str
    registry: Literal["npm", "PyPI"]
    program: str
    options: Callable[[Place], list[str]]
    """Returns the arguments before the task."""
    tool: str = ""
    """Name of the tool that runs a command. Empty for an agent that calls no tools."""
    arguments: Callable[[str], dict[str, Any]] = lambda command: {"command": command}
    """Returns the arguments of the tool for a command."""
    environment: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    configure: Callable[[Place], None] = lambda place: None
    """Writes the files of the agent below the home."""

    def run_environment(self, place: Place) -> dict[str, str]:
        """Return the environment of a run: little of the caller's own, so that no key of it is used."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        return kept | {
            "HOME": str(place.home),
            "XDG_CONFIG_HOME": str(place.home / ".config"),
            **self.environment(place),
        }


def described(command: str) -> dict[str, str]:
    return {"command": command, "description": "Runs a command"}


def configure_opencode(place: Place) -> None:
    options = {"baseURL": f"{place.address}/v1", "apiKey": "lmx"}
    models = {place.model: {"name": place.model, "limit": {"context": CONTEXT, "output": 8192}}}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "lmx", "options": options, "models": models}
    name = f"lmx/{place.model}"
    config = {"autoupdate": False, "share": "disabled", "model": name, "small_model": name}
    place.write(".config/opencode/opencode.json", json.dumps(config | {"provider": {"lmx": provider}}))


def configure_codex(place: Place) -> None:
    lines = [
        f'model = "{place.model}"',
        'model_provider = "lmx"',
        "check_for_update_on_startup = false",
        "[analytics]",
        "enabled = false",
        "[model_providers.lmx]",
        'name = "lmx"',
        f'base_url = "{place.address}/v1"',
        'env_key = "LMX_KEY"',
        'wire_api = "responses"',
    ]
    place.write(".codex/config.toml", "\n".join(lines) + "\n")


def claude_environment(place: Place) -> dict[str, str]:
    models = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    switches = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER")
    return {
        "ANTHROPIC_BASE_URL": place.address,
        "ANTHROPIC_AUTH_TOKEN": "lmx",
        "ANTHROPIC_API_KEY": "",
        "CLAUDE_CODE_SUBAGENT_MODEL": place.model,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(CONTEXT),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "100000",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "API_TIMEOUT_MS": "3600000",
        "API_FORCE_IDLE_TIMEOUT": "0",
        **{f"ANTHROPIC_{name}": place.model for name in models},
        **dict.fromkeys(switches, "1"),
    }


def configure_qwen(place: Place) -> None:
    settings = {
        "telemetry": {"enabled": False},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
    }
    place.write(".qwen/settings.json", json.dumps(settings))


def configure_continue(place: Place) -> None:
    lines = [
        "name: lmx",
        "version: 1.0.0",
        "schema: v1",
        "models:",
        "  - name: lmx",
        "    provider: openai",
        f"    model: {place.model}",
        f"    apiBase: {place.address}/v1",
        "    apiKey: lmx",
        "    roles: [chat]",
        "    capabilities: [tool_use]",
    ]
    place.write("continue.yaml", "\n".join(lines) + "\n")


def aider_options(place: Place) -> list[str]:
    switches = ("git", "check-update", "analytics", "show-model-warnings", "show-release-notes", "auto-lint")
    address = ["--openai-api-base", f"{place.address}/v1", "--openai-api-key", "lmx"]
    test = ["--auto-test", "--test-cmd", "grep -q right made.txt || (echo casewrong; exit 1)"]
    return [
        *("--model", f"openai/{place.model}", "--edit-format", "whole", "--yes-always"),
        *(f"--no-{name}" for name in switches),
        *(*address, *test, "--file", "made.txt", "--message"),
    ]


AGENTS = [
    Agent(
        "codex",
        "@openai/codex",
        "npm",
        "codex",
        lambda place: ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"],
        "exec_command",
        lambda command: {"cmd": command},
        lambda place: {"LMX_KEY": "lmx"},
        configure_codex,
    ),
    Agent(
        "claude",
        "@anthropic-ai/claude-code",
        "npm",
        "claude",
        lambda place: ["--allowedTools", "Bash", "--print"],
        "Bash",
        described,
        claude_environment,
    ),
    Agent(
        "opencode",
        "opencode-ai",
        "npm",
        "opencode",
        lambda place: ["run", "--auto"],
        "bash",
        described,
        lambda place: dict.fromkeys(("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH"), "1"),
        configure_opencode,
    ),
    Agent("aider", "aider-chat", "PyPI", "aider", aider_options),
    Agent(
        "qwen-code",
        "@qwen-code/qwen-code",
        "npm",
        "qwen",
        lambda place: [
            *("--auth-type", "openai", "--openai-api-key", "lmx", "--openai-base-url", f"{place.address}/v1"),
            *("--model", place.model, "--yolo", "--prompt"),
        ],
        "run_shell_command",
        lambda command: {"command": command, "is_background": False},
        configure=configure_qwen,
    ),
    Agent(
        "continue",
        "@continuedev/cli",
        "npm",
        "cn",
        lambda place: ["--config", str(place.home / "continue.yaml"), "--auto", "--print"],
        "Bash",
        environment=lambda place: {"CONTINUE_TELEMETRY_ENABLED": "0", "CONTINUE_CLI_ENABLE_TELEMETRY": "0"},
        configure=configure_continue,
    ),
]
