"""`lmx bench` on the command line, against a real daemon."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon

SECONDS = 180.0
"""Limit of one run, with other tests in parallel."""
QUICK = ("--rounds", "1", "--answer", "8", "--prompt", "32", "--streams", "2", "--long", "200")


class TestMeasuring:
    def test_guide_is_measured_in_every_workload(self, daemon: Daemon) -> None:
        ended = daemon.lmx("bench", "--model", "lmx/guide", *QUICK, timeout=SECONDS)
        assert ended.returncode == 0, ended.stderr
        for expected in (
            "2 at once, 32 + 8",
            "2 arrivals every 50 ms",
            "prefix of 200: second turn",
        ):
            assert expected in ended.stdout
        assert "200 tokens into 4 streams: a short one behind it" in ended.stdout
        assert "resident" in ended.stdout and "mlx-lm" in ended.stdout

    def test_two_servers_then_list_show_and_compare(self, daemon: Daemon, tmp_path: Path) -> None:
        picture = tmp_path / "picture.svg"
        quick = ("--run", "sweep", "--vs", daemon.address, "--svg", str(picture), *QUICK)
        first, second = (
            daemon.lmx("bench", "--model", "tests/talker", *quick, "--json", timeout=SECONDS) for _ in range(2)
        )
        assert first.returncode == second.returncode == 0, first.stderr
        found = json.loads(first.stdout)
        assert [target["name"] for target in found["targets"]] == ["lmx", "other"]
        for outcome in found["tests"][0]["outcomes"]:
            assert outcome["median"]["tokens"] == 16 and outcome["median"].get("errors", 0) == 0
            assert outcome["median"]["rate"] > 0 and outcome["median"]["first_token"]["p50"] > 0
        assert found["tests"][0]["outcomes"][0]["median"]["memory"] > 10_000_000
        assert picture.read_text().startswith("<svg")

        names = [json.loads(ended.stdout)["id"] for ended in (first, second)]
        assert [report["id"] for report in json.loads(daemon.lmx("bench", "list", "--json").stdout)][-2:] == names
        assert names[0] in daemon.lmx("bench", "list").stdout
        assert [report["id"] for report in daemon.admin("GET", "/admin/benchmark")][-2:] == names
        shown = daemon.lmx("bench", "show", "--plot").stdout
        assert "ratio" in shown and "█" in shown
        compared = daemon.lmx("bench", "compare")
        assert f"before: {names[0]}, after: {names[1]}" in compared.stdout and compared.returncode == 0
        assert (
            json.loads(daemon.lmx("bench", "compare", names[1], names[0], "--json").stdout)["later"]["id"] == names[0]
        )

    def test_no_keep_stores_no_report(self, daemon: Daemon) -> None:
        before = daemon.lmx("bench", "list", "--json").stdout
        assert daemon.lmx("bench", "--run", "sweep", "--no-keep", *QUICK, timeout=SECONDS).returncode == 0
        assert daemon.lmx("bench", "list", "--json").stdout == before


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "hint"),
        [
            (["--url", "http://127.0.0.1:9"], "connection refused", "is running on that port"),
            (["--url", "ftp://x"], "is not an http or https URL", "http://127.0.0.1:1234/v1"),
            (["--model", "no/such"], "no/such", "lmx pull no/such"),
            (["--run", "marathon"], "unknown workload 'marathon'", "sweep, arrivals"),
            (["--streams", "1,many"], "--streams: '1,many' is not a list", "--streams 1,4,16"),
            (["--streams", "0"], "--streams: '0'", "--streams 1,4,16"),
            (["--vs-model", "x"], "require --vs", "--vs URL"),
            (["--vs", "http://127.0.0.1:9"], "connection refused", "is running on that port"),
            (["--long", "90000", "--run", "prefix"], "no workload fits", "--prompt, --answer, --long"),
            (["compare", "nothing"], "no benchmark 'nothing'", "lmx bench list"),
            (["show", "nothing"], "no benchmark 'nothing'", "lmx bench list"),
        ],
    )
    def test_error_has_a_cause_and_a_hint(self, daemon: Daemon, arguments: list[str], error: str, hint: str) -> None:
        ended = daemon.lmx("bench", *arguments)
        usage = arguments[0] in ("--run", "--streams", "--vs-model") or "ftp://x" in arguments
        assert ended.returncode == (2 if usage else 1)
        lines = {line.partition(": ")[0]: line for line in ended.stderr.splitlines()}
        assert error in lines["error"] and hint in lines["hint"]
        assert "Traceback" not in ended.stderr

    def test_unknown_model_of_another_server_is_reported_with_its_models(self, daemon: Daemon) -> None:
        ended = daemon.lmx("bench", "--url", daemon.address, "--model", "no/such")
        assert ended.returncode == 1 and "has no model 'no/such'" in ended.stderr and "lmx/guide" in ended.stderr

    def test_url_that_is_no_base_url_is_reported(self, daemon: Daemon) -> None:
        ended = daemon.lmx("bench", "--url", f"{daemon.address}/health", "--model", "lmx/guide")
        assert ended.returncode == 1 and "HTTP 404" in ended.stderr and "give the base URL" in ended.stderr

    def test_missing_api_key_is_reported(self, own_daemon: Daemon) -> None:
        own_daemon.environment["LMX_API_KEY"] = "secret"
        own_daemon.start()
        del own_daemon.environment["LMX_API_KEY"]
        ended = own_daemon.lmx("bench", "--url", own_daemon.address, "--model", "lmx/guide")
        assert ended.returncode == 1 and "requires an API key" in ended.stderr and "--api-key" in ended.stderr
        given = own_daemon.lmx("bench", "--run", "sweep", "--api-key", "secret", *QUICK, timeout=SECONDS)
        assert given.returncode == 0, given.stderr
