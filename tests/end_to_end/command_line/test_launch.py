"""`lmx launch` with a fake agent on PATH: it prints its environment and sends one request to the real daemon."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_model import AGENT, build_agent_model
from tests.end_to_end.running import Daemon

KEY = "hush-hush"
PROGRAM = """\
#!{python}
import json, os, sys, urllib.request
base, path, body = os.environ["FAKE_BASE"], sys.argv[-2], sys.argv[-1]
names = ("LMX_KEY", "ANTHROPIC_AUTH_TOKEN", "AIDER_OPENAI_API_KEY")
key = next(os.environ[name] for name in names if name in os.environ)
headers = {{"authorization": "Bearer " + key, "content-type": "application/json"}}
with urllib.request.urlopen(urllib.request.Request(base + path, body.encode(), headers)) as answer:
    status = answer.status
print(json.dumps({{"arguments": sys.argv[1:-2], "environment": dict(os.environ), "status": status}}))
sys.exit(7)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Yield a daemon with an API key, a model that calls tools, and programs with the names of all agents on PATH."""
    folder = tmp_path_factory.mktemp("launch")
    build_agent_model(folder / "cache", {"": "Hello."}, max_position_embeddings=65_536)
    (folder / "bin").mkdir()
    for name in ("claude", "codex", "opencode", "aider"):
        program = folder / "bin" / name
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
    running = Daemon(
        environment={
            "HF_HUB_CACHE": str(folder / "cache"),
            "LMX_API_KEY": KEY,
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        },
        config="[engine]\nwarm_spare = false\n",
    ).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def user(server: Daemon, tmp_path: Path) -> Path:
    """Return a fresh home folder of the user, which the commands of the test use."""
    server.environment |= {"HOME": str(tmp_path), "FAKE_BASE": server.address}
    return tmp_path


def launched(server: Daemon, agent: str, path: str, **body: Any) -> Any:
    """Launch an agent, and return what it printed. Its exit code is the command's."""
    request = json.dumps({"model": AGENT, **body})
    ended = server.lmx("launch", agent, "--", "--own", path, request)
    assert ended.returncode == 7, ended.stderr
    found = json.loads(ended.stdout)
    assert found["status"] == 200 and found["arguments"][-1] == "--own"
    return found


def test_claude_is_started_with_its_environment(server: Daemon, user: Path) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    found = launched(server, "claude", "/v1/messages", messages=messages, max_tokens=4)
    environment = found["environment"]
    assert environment["ANTHROPIC_BASE_URL"] == server.address and environment["ANTHROPIC_MODEL"] == AGENT
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "65536"
    assert not list(user.iterdir())


def test_codex_gets_its_provider_and_a_restore_brings_the_file_back(server: Daemon, user: Path) -> None:
    config = user / ".codex" / "config.toml"
    config.parent.mkdir()
    before = '# mine\nmodel = "other"\n[tui]\ntheme = "dark"\n'
    config.write_text(before)
    found = launched(server, "codex", "/v1/responses", input="Hello", max_output_tokens=16)
    assert f'model="{AGENT}"' in found["arguments"] and "model_context_window=65536" in found["arguments"]
    values = tomllib.loads(config.read_text())
    assert values["model"] == "other" and values["tui"] == {"theme": "dark"}
    assert values["model_providers"]["lmx"]["base_url"] == f"{server.address}/v1"
    assert KEY not in config.read_text()
    assert "restored" in server.lmx("launch", "codex", "--restore").stdout
    assert config.read_text() == before


def test_opencode_gets_its_provider_in_a_new_file(server: Daemon, user: Path) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    found = launched(server, "opencode", "/v1/chat/completions", messages=messages, max_tokens=4)
    assert json.loads(found["environment"]["OPENCODE_CONFIG_CONTENT"])["model"] == f"lmx/{AGENT}"
    config = user / ".config" / "opencode" / "opencode.json"
    models = json.loads(config.read_text())["provider"]["lmx"]["models"]
    assert models == {AGENT: {"name": AGENT, "limit": {"context": 65_536, "output": 16_384}}}
    assert server.lmx("launch", "opencode", "--restore").returncode == 0
    assert not config.exists()


def test_aider_gets_its_limits(server: Daemon, user: Path) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    found = launched(server, "aider", "/v1/chat/completions", messages=messages, max_tokens=4)
    limits = Path(found["arguments"][found["arguments"].index("--model-metadata-file") + 1])
    assert json.loads(limits.read_text())[f"openai/{AGENT}"]["max_input_tokens"] == 65_536


def test_a_dry_run_writes_nothing_and_hides_the_key(server: Daemon, user: Path) -> None:
    ended = server.lmx("launch", "codex", "--model", "agent", "--dry-run", "--", "exec", "two words")
    assert ended.returncode == 0, ended.stderr
    assert "+[model_providers.lmx]" in ended.stdout and "LMX_KEY='***'" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith("exec 'two words'")
    assert KEY not in ended.stdout and not list(user.iterdir())
    shown = json.loads(server.lmx("launch", "codex", "--dry-run", "--json").stdout)
    assert shown["model"] == AGENT and shown["context"] == 65_536 and KEY not in json.dumps(shown)


def test_options_without_an_agent_are_a_wrong_command_line(server: Daemon, user: Path) -> None:
    for options in (["--restore"], ["--dry-run"], ["--model", "agent"]):
        ended = server.lmx("launch", *options)
        assert ended.returncode == 2 and "need an agent" in ended.stderr


def test_a_file_with_comments_is_refused_before_the_agent_starts(server: Daemon, user: Path) -> None:
    config = user / ".config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    config.write_text("{} // mine\n")
    ended = server.lmx("launch", "opencode")
    assert ended.returncode == 1 and "has comments" in ended.stderr and '"npm"' in ended.stderr
    assert config.read_text() == "{} // mine\n" and len(list(config.parent.iterdir())) == 1


def test_a_wrong_key_is_reported_before_a_file_is_written(server: Daemon, user: Path) -> None:
    environment = server.env() | {"LMX_API_KEY": "wrong"}
    command = [sys.executable, "-m", "lmx_cli.main", "launch", "codex"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "answered 401" in ended.stderr and "LMX_API_KEY" in ended.stderr
    assert not list(user.iterdir())


def test_agents_are_listed(server: Daemon, user: Path) -> None:
    rows = json.loads(server.lmx("launch", "--json").stdout)
    assert {row["name"] for row in rows if row["installed"]} == {"claude", "codex", "opencode", "aider"}
    assert "codex" in server.lmx("launch").stdout


def test_an_unknown_agent_and_an_unsuitable_model_are_refused(server: Daemon, user: Path) -> None:
    ended = server.lmx("launch", "codexx")
    assert ended.returncode == 2 and "did you mean codex?" in ended.stderr
    ended = server.lmx("launch", "claude", "--model", "lmx/guide")
    assert ended.returncode == 1 and "does not suit claude" in ended.stderr


def test_a_missing_program_is_reported_with_its_installation(server: Daemon, user: Path) -> None:
    environment = server.env() | {"PATH": os.devnull}
    command = [sys.executable, "-m", "lmx_cli.main", "launch", "aider"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "aider is not on the PATH" in ended.stderr
    assert "uv tool install aider-chat" in ended.stderr


def test_key_is_made_where_one_is_required_and_not_by_a_dry_run(server: Daemon, user: Path) -> None:
    environment = {name: value for name, value in server.environment.items() if name != "LMX_API_KEY"}
    config = "[engine]\nwarm_spare = false\n[server]\nrequire_key = true\n"
    strict = Daemon(environment=environment, config=config).start()
    try:
        strict.environment["FAKE_BASE"] = strict.address
        assert strict.lmx("launch", "claude", "--dry-run").returncode == 0
        assert json.loads(strict.lmx("key", "list", "--json").stdout) == []
        messages = [{"role": "user", "content": "Hello"}]
        found = launched(strict, "claude", "/v1/messages", messages=messages, max_tokens=4)
        listed = strict.lmx("key", "list", "--json")
        assert listed.returncode == 0, listed.stdout
        (key,) = json.loads(listed.stdout)
        assert found["environment"]["ANTHROPIC_AUTH_TOKEN"].startswith(f"lmx_{key['id']}_")
    finally:
        assert strict.stop() == 0
