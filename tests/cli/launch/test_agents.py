"""The configuration of each agent."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from lmx_cli.launch.agents import AGENTS, Agent
from lmx_cli.launch.files import change_of, restore, write_change
from lmx_cli.launch.target import AgentTarget, Places
from lmx_cli.own_port import reachable

TARGET = AgentTarget("http://127.0.0.1:1234", "sk-hidden", 'org/a"b', 65_536)
PLACES = Places(Path("/home/me"), Path("/home/me/.lmx/launch"), {})


def test_answer_and_compaction_leave_room_in_the_context() -> None:
    assert TARGET.output == 16_384 and TARGET.compaction + TARGET.output < TARGET.context
    assert AgentTarget("", "", "", 1_000_000).output == 32_000


def test_claude_gets_the_limits_and_no_other_key() -> None:
    environment = AGENTS["claude"].environment(TARGET)
    assert environment["ANTHROPIC_API_KEY"] == "" and environment["ANTHROPIC_AUTH_TOKEN"] == "sk-hidden"
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
def test_the_key_is_neither_in_arguments_nor_in_files(agent: Agent) -> None:
    assert "sk-hidden" not in str(agent.arguments(TARGET, PLACES)) + str(agent.files(TARGET, PLACES))
    assert "sk-hidden" in agent.environment(TARGET).values()


def test_an_address_of_every_interface_is_reached_at_loopback() -> None:
    assert reachable("http://0.0.0.0:1") == "http://127.0.0.1:1"
    assert reachable("http://[::]:1") == "http://[::1]:1"
    assert reachable("http://127.0.0.1:1") == "http://127.0.0.1:1"


FILES = {
    "continue": ("launch/continue.yaml", "apiBase"),
    "crush": ("crush/crush.json", "base_url"),
    "pi": ("models.json", "baseUrl"),
    "zed": ("zed/settings.json", "api_url"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_has_the_address_the_model_and_its_limits(name: str) -> None:
    (file,) = AGENTS[name].files(TARGET, PLACES)
    place, address = FILES[name]
    text = json.dumps(file.values)
    assert str(file.path).endswith(place)
    assert f'"{address}": "http://127.0.0.1:1234/v1"' in text
    assert ": 65536" in text and ": 16384" in text and json.dumps(TARGET.model) in text


def test_variables_have_the_limits_of_an_agent_without_a_file() -> None:
    environment = AGENTS["goose"].environment(TARGET)
    assert environment["GOOSE_CONTEXT_LIMIT"] == "65536" and environment["GOOSE_MODEL"] == TARGET.model
    assert AGENTS["qwen"].environment(TARGET)["OPENAI_BASE_URL"] == "http://127.0.0.1:1234/v1"


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_every_file_is_restored_byte_for_byte(agent: Agent, tmp_path: Path) -> None:
    places = Places(tmp_path / "me", tmp_path / "own", {})
    for file in agent.files(TARGET, places):
        file.path.parent.mkdir(parents=True)
        before = b"# mine\r\n[a]\nb = 1  # kept\n" if file.form == "toml" else b'{\n\t"mine": {"b": [1,2]}\n}\r\n'
        file.path.write_bytes(before)
        write_change(change_of(file))
        assert file.path.read_bytes() != before and b"mine" in file.path.read_bytes()
        assert not change_of(file).differs, "a second launch changes nothing"
        assert restore(file.path) == "restored"
        assert file.path.read_bytes() == before


def test_documentation_lists_the_agents_that_launch_starts() -> None:
    page = (Path(__file__).parents[3] / "docs" / "agents.md").read_text()
    listed = page.partition("`lmx launch AGENT` starts ")[2].partition(" with a model")[0]
    assert re.findall(r"`([a-z]+)`", listed) == list(AGENTS)
