"""`lmx requests` against a real daemon and the built-in model."""

import json
from typing import Any

import httpx2

from tests.end_to_end.running import Daemon

ASKED = {"model": "lmx/guide", "messages": [{"role": "user", "content": "how do I pull a model?"}], "max_tokens": 4}


def ask(daemon: Daemon, body: dict[str, Any], name: str) -> int:
    headers = {"x-request-id": name, "user-agent": "tester/1.0 (a comment)"}
    return httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, headers=headers, timeout=60).status_code


def test_a_request_is_recorded_shown_summed_and_exported(own_daemon: Daemon) -> None:
    own_daemon.config = "[history]\nfailed_requests = true\n"
    own_daemon.start()
    assert ask(own_daemon, ASKED, "first") == 200
    assert ask(own_daemon, ASKED | {"deadline": 0.0001}, "second") == 504
    assert ask(own_daemon, ASKED | {"model": "no/such"}, "third") == 404
    found = json.loads(own_daemon.lmx("requests", "--json").stdout)
    assert [(each["id"], each["outcome"]) for each in found] == [
        ("first", "finished"),
        ("second", "failed"),
        ("third", "failed"),
    ]
    assert found[0]["client"] == "tester/1.0" and found[0]["completion_tokens"] == 4 and found[0]["load"] > 0
    shown = own_daemon.lmx("requests", "show", "chatcmpl-first").stdout
    assert "/v1/chat/completions (openai_chat)" in shown and "4 tokens" in shown
    exported = own_daemon.lmx("requests", "export", "second").stdout
    assert "deadline_exceeded" in exported and "how do I pull a model?" in exported
    assert "how do I pull" not in own_daemon.lmx("requests", "export", "first").stdout
    (total,) = json.loads(own_daemon.lmx("requests", "totals", "--by", "key", "--json").stdout)
    assert (total["name"], total["requests"], total["failed"]) == ("http", 3, 2)
    assert own_daemon.lmx("requests", "--outcome", "failed").stdout.count("\n") == 3
    assert own_daemon.lmx("requests", "show", "nosuch").returncode == 1
    assert json.loads(own_daemon.lmx("requests", "--live", "--json").stdout) == []
    again = own_daemon.lmx("requests", "replay", "second")
    assert again.returncode == 0 and again.stdout.strip()
    missing = own_daemon.lmx("requests", "replay", "first")
    assert missing.returncode == 1 and "was not kept" in missing.stderr and "failed_requests" in missing.stderr
    assert own_daemon.lmx("requests", "clear").returncode == 2
    assert own_daemon.lmx("requests", "clear", "--yes").stdout == "deleted 4 records\n"


def test_records_outlive_a_kill_and_a_damaged_file_does_not_stop_chats(own_daemon: Daemon) -> None:
    own_daemon.start()
    assert ask(own_daemon, ASKED, "before") == 200
    assert "before" in own_daemon.lmx("requests").stdout
    assert own_daemon.process is not None
    own_daemon.process.kill()
    own_daemon.process.wait()
    own_daemon.start()
    assert "before" in own_daemon.lmx("requests").stdout
    own_daemon.process.kill()
    own_daemon.process.wait()
    for suffix in ("-wal", "-shm"):
        (own_daemon.home / "history" / f"requests.db{suffix}").unlink(missing_ok=True)
    (own_daemon.home / "history" / "requests.db").write_bytes(b"damage" * 1000)
    own_daemon.start()
    assert ask(own_daemon, ASKED, "after") == 200
    assert [each["id"] for each in json.loads(own_daemon.lmx("requests", "--json").stdout)] == ["after"]
    assert any("unreadable" in file.name for file in (own_daemon.home / "history").iterdir())
