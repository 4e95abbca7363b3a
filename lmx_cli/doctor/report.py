"""The bundle of `lmx doctor --report`: checks, settings without secrets, and warnings of the log, as one text."""

from collections.abc import Sequence

from lmx_cli.doctor.checks import CheckResult
from lmx_cli.doctor.facts import Facts
from lmx_daemon.contract.admin.config import ConfigRow
from lmx_daemon.contract.text import without_secrets


def report_text(facts: Facts, checks: Sequence[CheckResult], settings: Sequence[ConfigRow], log: Sequence[str]) -> str:
    """Return the report. Keys, and the user, password and query of each URL, are left out."""
    parts = [
        f"# lmx {facts.version}",
        *(f"{check.state:<8} {check.name}: {check.message}" for check in checks),
        "",
        "# Settings that are not at their default",
        *(f"{row.key} = {'(secret)' if row.secret else repr(row.value)}" for row in settings if row.is_set),
        "",
        "# Last warnings of the log",
        *log,
    ]
    return without_secrets("\n".join(parts) + "\n")
