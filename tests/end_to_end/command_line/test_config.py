"""`lmx config` on the command line, with and without a daemon."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.running import Daemon, wait_until

SMALL = "[engine]\nwarm_spare = false\n"
CHANGE_SECONDS = 20.0


def row(daemon: Daemon, key: str) -> Any:
    found = json.loads(daemon.lmx("config", "list", key, "--json").stdout)["settings"]
    return next(each for each in found if each["key"] == key)


def config_of(daemon: Daemon) -> Path:
    return daemon.home / "config.toml"


class TestWithoutADaemon:
    def test_keys_are_set_shown_and_removed(self, own_daemon: Daemon) -> None:
        lmx = own_daemon.lmx
        assert lmx("config", "path").stdout.strip() == str(config_of(own_daemon))
        assert lmx("config", "get", "server.port").stdout == "1234\n"
        assert lmx("config", "set", "server.port", "4000").stdout == "server.port = 4000\n"
        assert lmx("config", "get", "server.port").stdout == "4000\n"
        listed = lmx("config", "list", "--changed").stdout.splitlines()
        assert len(listed) == 2 and listed[1].split()[:4] == ["server.port", "4000", "file", "line"]
        assert row(own_daemon, "server.port")["source"] == "file"
        lmx("config", "unset", "server.port")
        assert lmx("config", "get", "server.port", "--json").returncode == 0
        assert row(own_daemon, "server.port").get("source", "default") == "default"

    def test_a_change_prints_its_row_as_json(self, own_daemon: Daemon) -> None:
        lmx = own_daemon.lmx
        assert json.loads(lmx("config", "path", "--json").stdout) == {"file": str(config_of(own_daemon))}
        found = json.loads(lmx("config", "set", "server.port", "4000", "--json").stdout)
        assert found == json.loads(lmx("config", "get", "server.port", "--json").stdout)
        assert found["key"] == "server.port" and found["value"] == 4000 and found["source"] == "file"
        found = json.loads(lmx("config", "unset", "server.port", "--json").stdout)
        assert found["value"] == 1234 and "source" not in found
        for verb, value in (("set", ["5"]), ("unset", [])):  # a key that exists only while it is set
            assert json.loads(lmx("config", verb, "models.a/b.ttl", *value, "--json").stdout)["name"] == "ttl"
        ended = lmx("config", "set", "server.api_key", "-", "--json", stdin="hush\n")
        assert json.loads(ended.stdout)["is_set"] is True and "hush" not in ended.stdout + ended.stderr

    def test_a_variable_wins_and_a_set_value_is_reported_as_not_in_force(self, own_daemon: Daemon) -> None:
        own_daemon.environment["LMX_SERVER_PORT"] = "5000"
        ended = own_daemon.lmx("config", "set", "server.port", "4000")
        assert "LMX_SERVER_PORT takes precedence" in ended.stderr
        assert row(own_daemon, "server.port")["place"] == "LMX_SERVER_PORT"

    def test_a_negative_value_is_no_option_and_a_secret_one_is_read_from_stdin(self, own_daemon: Daemon) -> None:
        ended = own_daemon.lmx("config", "set", "models.a/b.ttl", "-1")
        assert ended.returncode == 0 and 'models."a/b".ttl = -1.0' in ended.stdout, ended.stderr
        ended = own_daemon.lmx("config", "set", "server.api_key", "-", stdin="hush\n")
        assert "hush" not in ended.stdout + ended.stderr
        assert "hush" not in own_daemon.lmx("config", "list").stdout
        assert own_daemon.lmx("config", "get", "server.api_key").stdout == "hush\n"

    def test_a_file_with_a_fault_is_corrected_in_the_editor(self, own_daemon: Daemon, tmp_path: Path) -> None:
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\nsed -i.old s/portt/port/ "$1"\n')
        editor.chmod(0o755)
        own_daemon.environment["VISUAL"] = str(editor)
        config_of(own_daemon).write_text("[server]\nportt = 1\n")
        ended = own_daemon.lmx("config", "edit")
        assert ended.returncode == 0, ended.stderr
        assert config_of(own_daemon).read_text() == "[server]\nport = 1\n"
        assert (own_daemon.home / "config.toml.bak").read_text() == "[server]\nportt = 1\n"

    @pytest.mark.parametrize(
        ("arguments", "error", "hint"),
        [
            (["set", "server.prot", "1"], "'server.prot' is not a setting", "did you mean server.port?"),
            (["set", "port", "1"], "'port' is not a setting", "did you mean server.port?"),
            (["set", "server.port", "x"], "must be an integer from 0 to 65535", "lmx config unset server.port"),
            (["get", "nosuch"], "'nosuch' is not a setting", "lmx config list"),
            (["set", "engine.wired", "on"], '"auto", "off" or an integer', "restores the default"),
            (["reload"], "no lmx daemon answers", "lmx serve"),
        ],
    )
    def test_errors_name_what_would_be_right(
        self, own_daemon: Daemon, arguments: list[str], error: str, hint: str
    ) -> None:
        ended = own_daemon.lmx("config", *arguments)
        code = 3 if arguments == ["reload"] else 2  # 3: no daemon answers
        assert ended.returncode == code and error in ended.stderr and hint in ended.stderr
        assert not config_of(own_daemon).exists()

    def test_a_fault_of_the_file_is_reported_by_every_command(self, own_daemon: Daemon) -> None:
        config_of(own_daemon).write_text("[server]\nportt = 1\n")
        for arguments in (["list"], ["get", "server.port"], ["set", "server.port", "1"]):
            ended = own_daemon.lmx("config", *arguments)
            assert ended.returncode == 1 and "line 2: server.portt is not a setting" in ended.stderr
        ended = own_daemon.lmx("serve", "--detach")
        assert ended.returncode == 1 and "line 2: server.portt is not a setting" in ended.stderr
        assert "did you mean port?" in ended.stderr

    def test_an_editor_changes_the_file_and_faults_are_not_saved(self, own_daemon: Daemon, tmp_path: Path) -> None:
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\nprintf "$TEXT" >> "$1"\n')
        editor.chmod(0o755)
        own_daemon.environment |= {"EDITOR": str(editor), "VISUAL": "", "TEXT": "\nserver.port = 1"}
        ended = own_daemon.lmx("config", "edit")
        assert ended.returncode == 1 and "line" in ended.stderr and not config_of(own_daemon).exists()
        own_daemon.environment["TEXT"] = "\n# mine\n"
        ended = own_daemon.lmx("config", "edit")
        assert ended.returncode == 0, ended.stderr
        assert config_of(own_daemon).read_text().endswith("# mine\n")
        assert "# port = 1234\n" in config_of(own_daemon).read_text()


class TestWithADaemon:
    def test_a_set_value_is_in_force_or_waits_for_a_restart(self, own_daemon: Daemon) -> None:
        own_daemon.config = SMALL
        daemon = own_daemon.start()
        assert "at the next start" not in daemon.lmx("config", "set", "server.max_queued", "3").stderr
        assert daemon.admin("GET", "/admin/config")["rows"]
        assert row(daemon, "server.max_queued")["value"] == 3
        assert "at the next start" in daemon.lmx("config", "set", "library.lmstudio", "false").stderr
        found = row(daemon, "library.lmstudio")
        assert found["waiting"] is True and found["value"] is True and found["next"] is False
        assert "needed for library.lmstudio" in daemon.lmx("status").stdout
        assert row(daemon, "server.port")["place"] == "--port"
        found = json.loads(daemon.lmx("config", "set", "library.lmstudio", "false", "--json").stdout)
        assert found["waiting"] is True and found["next"] is False
        assert json.loads(daemon.lmx("config", "reload", "--json").stdout).keys() == {"changed", "waiting"}

    def test_a_changed_file_is_read_by_itself_on_a_signal_and_on_request(self, own_daemon: Daemon) -> None:
        own_daemon.config = SMALL
        daemon = own_daemon.start()
        assert daemon.process is not None

        def queued() -> int:
            found: int = row(daemon, "server.max_queued")["value"]
            return found

        config_of(daemon).write_text(SMALL + "[server]\nmax_queued = 11\n")
        wait_until(lambda: queued() == 11, CHANGE_SECONDS, "the watch reads the file")
        config_of(daemon).write_text(SMALL + "[server]\nmax_queued = 12\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: queued() == 12, CHANGE_SECONDS, "the signal makes the daemon read the file")
        config_of(daemon).write_text(SMALL + "[server]\nmax_queued = 13\n")
        assert "server.max_queued is in force" in daemon.lmx("config", "reload").stdout or queued() == 13
        assert "max_queued is 13 now" in (daemon.home / "logs" / "daemon.log").read_text()

    def test_a_fault_leaves_the_settings_in_force_and_is_in_the_status_and_the_log(self, own_daemon: Daemon) -> None:
        own_daemon.config = SMALL
        daemon = own_daemon.start()
        config_of(daemon).write_text("[server]\nmax_queued = 'x'\n")
        ended = daemon.lmx("config", "reload")
        assert ended.returncode == 1 and "line 2: server.max_queued must be an integer" in ended.stderr
        assert "not in force: " in daemon.lmx("status").stdout
        assert "line 2" in (daemon.home / "logs" / "daemon.log").read_text()
        assert row(daemon, "engine.warm_spare")["value"] is False

    def test_the_admin_route_sets_one_key(self, own_daemon: Daemon) -> None:
        own_daemon.config = SMALL
        daemon = own_daemon.start()
        assert daemon.admin("PATCH", "/admin/config", {"key": "server.max_queued", "value": 3}) == {
            "changed": ["server.max_queued"]
        }
        refused = daemon.admin("PATCH", "/admin/config", {"key": "server.max_queued", "value": -3})
        assert refused["code"] == "bad_config" and "at least 0" in refused["message"]
        assert "max_queued = 3" in config_of(daemon).read_text()

    def test_the_settings_of_a_model_apply_to_its_load_and_its_requests(self, own_daemon: Daemon) -> None:
        own_daemon.config = SMALL
        daemon = own_daemon.start()
        for key, value in (("context", "1024"), ("ttl", "77"), ("max_tokens", "3"), ("temperature", "0")):
            ended = daemon.lmx("config", "set", f"models.lmx/guide.{key}", value)
            assert ended.returncode == 0, ended.stderr
        body = {"model": "lmx/guide", "messages": [{"role": "user", "content": "How do I change the port?"}]}
        answer = httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60).json()
        assert answer["usage"]["completion_tokens"] == 3
        own = httpx2.post(f"{daemon.address}/v1/chat/completions", json={**body, "max_tokens": 5}, timeout=60).json()
        assert own["usage"]["completion_tokens"] == 5
        (instance,) = daemon.admin("GET", "/admin/instances")
        assert instance["ttl"] == 77 and instance["capabilities"]["context_length"] == 1024
        assert "context = 1024, ttl = 77" in daemon.lmx("show", "lmx/guide").stdout
