"""The configuration of each agent."""

import json
import tomllib
from pathlib import Path

import pytest

from lmx_cli.launch.agents import AGENTS
from lmx_cli.launch.target import AgentTarget, Places
from lmx_cli.own_port import reachable

TARGET = AgentTarget("http://127.0.0.1:1234", "secret", 'org/a"b', 65_536)
PLACES = Places(Path("/home/me"), Path("/home/me/.lmx/launch"), {})


def test_answer_and_compaction_leave_room_in_the_context() -> None:
    assert TARGET.output == 16_384 and TARGET.compaction + TARGET.output < TARGET.context
    assert AgentTarget("", "", "", 1_000_000).output == 32_000


def test_claude_gets_the_limits_and_no_other_key() -> None:
    environment = AGENTS["claude"].environment(TARGET)
    assert environment["ANTHROPIC_API_KEY"] == "" and environment["ANTHROPIC_AUTH_TOKEN"] == "secret"
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    assert environment["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "16384"
    assert environment["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "100000"
    assert not AGENTS["claude"].files(TARGET, PLACES)


def test_codex_gets_toml_values_and_a_provider() -> None:
    arguments = AGENTS["codex"].arguments(TARGET, PLACES)
    assert arguments[::2] == ["-c"] * (len(arguments) // 2)
    assert tomllib.loads("\n".join(arguments[1::2])) == {
        "model": 'org/a"b',
        "model_provider": "lmx",
        "model_context_window": 65_536,
        "model_auto_compact_token_limit": TARGET.compaction,
    }
    (file,) = AGENTS["codex"].files(TARGET, PLACES)
    assert file.path == Path("/home/me/.codex/config.toml")
    moved = Places(PLACES.user, PLACES.own, {"CODEX_HOME": "/else"})
    assert AGENTS["codex"].files(TARGET, moved)[0].path == Path("/else/config.toml")


def test_opencode_chooses_the_model_for_this_run_only() -> None:
    (file,) = AGENTS["opencode"].files(TARGET, PLACES)
    assert set(file.values) == {"provider"}
    assert file.path == Path("/home/me/.config/opencode/opencode.json")
    content = json.loads(AGENTS["opencode"].environment(TARGET)["OPENCODE_CONFIG_CONTENT"])
    assert content == dict.fromkeys(("model", "small_model"), 'lmx/org/a"b')


def test_aider_gets_its_limits_from_a_file_of_lmx() -> None:
    (file,) = AGENTS["aider"].files(TARGET, PLACES)
    assert file.path == PLACES.own / "aider.json"
    assert file.values['openai/org/a"b']["max_input_tokens"] == 65_536
    assert str(file.path) in AGENTS["aider"].arguments(TARGET, PLACES)


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_the_key_is_neither_in_arguments_nor_in_files(agent: object) -> None:
    from lmx_cli.launch.agents import Agent

    assert isinstance(agent, Agent)
    assert "secret" not in str(agent.arguments(TARGET, PLACES)) + str(agent.files(TARGET, PLACES))
    assert "secret" in agent.environment(TARGET).values()


def test_an_address_of_every_interface_is_reached_at_loopback() -> None:
    assert reachable("http://0.0.0.0:1") == "http://127.0.0.1:1"
    assert reachable("http://[::]:1") == "http://[::1]:1"
    assert reachable("http://127.0.0.1:1") == "http://127.0.0.1:1"
