"""The guard of skips: a skip whose reason is not listed in allowed_skips.toml fails the run."""

import re
import tomllib
from pathlib import Path

import pytest

LIST = Path(__file__).parent / "allowed_skips.toml"


def allowed_reasons() -> list[str]:
    return [entry["reason"] for entry in tomllib.loads(LIST.read_text())["skip"]]


def unlisted(reasons: list[str], allowed: list[str]) -> list[str]:
    """Return the reasons that no entry of `allowed` matches as a whole."""
    return [reason for reason in reasons if not any(re.fullmatch(pattern, reason) for pattern in allowed)]


class SkipGuard:
    """Pytest plugin that collects the reasons of skips and fails a run with an unlisted reason."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self._reasons.append(report.longrepr[2].removeprefix("Skipped: "))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self._reasons.append(report.longrepr[2].removeprefix("Skipped: "))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if unlisted(self._reasons, allowed_reasons()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for reason in sorted(set(unlisted(self._reasons, allowed_reasons()))):
            terminalreporter.write_line(f"skip not listed in {LIST.name}: {reason}", red=True)
